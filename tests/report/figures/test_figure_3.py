import numpy as np
import pytest

from ct_lesion.report.figures.figure_3 import (
    CAPTION,
    RankedSlice,
    box_areas,
    choose_slices,
    figure_3,
)

NAMES = ("Control", "Common Pneumonia", "COVID-19")


def ranked(class_name: str, scores: list[float], copies: list[bool] | None = None) -> RankedSlice:
    number = len(scores)
    boxes = np.array([[0.0, 0, 10, i + 1] for i in range(number)])
    is_copy = np.array(copies or [False] * number, bool)
    return RankedSlice(class_name, "slice", np.array(scores), boxes, is_copy)


# ---- which slices -------------------------------------------------------------------------------
def test_the_correct_slice_of_median_margin_is_typical_of_a_class():
    labels = np.array([0, 0, 0, 0, 2, 2, 2, 2])
    # margins 1, 5, 3 and wrong; 4, 1, 2, 8: with four, the lower median
    logits = np.array(
        [[1, 0, 0], [5, 0, 0], [3, -9, 0], [0, 9, 0], [0, 0, 4], [0, 0, 1], [0, 1, 3], [0, 0, 8]],
        float,
    )
    assert choose_slices(labels, logits, NAMES) == {"Control": 2, "COVID-19": 6}


def test_of_equal_margins_the_first_slice_is_chosen():
    logits = np.tile([2.0, 0, 0], (5, 1))
    assert choose_slices(np.zeros(5, int), logits, NAMES) == {"Control": 0}


def test_without_a_correct_slice_the_least_wrong_is_chosen():
    labels = np.array([1, 1, 1])
    logits = np.array([[5.0, 1, 0], [2, 1, 0], [0, 1, 3]])
    assert choose_slices(labels, logits, NAMES) == {"Common Pneumonia": 1}
    # a tie is predicted as the first class, so this slice is wrong too
    assert choose_slices(np.array([1]), np.zeros((1, 3)), NAMES) == {"Common Pneumonia": 0}
    assert choose_slices(np.zeros(0, int), np.zeros((0, 3)), NAMES) == {}


# ---- the figure ---------------------------------------------------------------------------------
def test_areas_by_hand():
    assert box_areas(np.array([[1.0, 2, 4, 7], [3, 3, 3, 9]])).tolist() == [15, 0]


def count(patches) -> float:
    return sum(patch.get_height() for patch in patches)


def test_top_and_all_rois(monkeypatch):
    monkeypatch.setattr("ct_lesion.report.figures.figure_3.TOP", 2)
    pieces = [ranked("COVID-19", [0.9, 0.8, 0.7, 0.1, 0.01]), ranked("Control", [0.001] * 5)]
    figure = figure_3(pieces, NAMES)
    assert len(figure.axes) == 8
    assert [a.get_title() for a in figure.axes[:4]] == [
        "Top 2: scores", "Top 2: area, score", "All 5: scores", "All 5: area, score",
    ]  # fmt: skip
    top, top_scatter, everything, scatter = figure.axes[:4]
    assert (count(top.patches), count(everything.patches)) == (2, 5)
    points = scatter.collections[0].get_offsets()
    np.testing.assert_allclose(points, np.column_stack([[10, 20, 30, 40, 50], pieces[0].scores]))
    np.testing.assert_array_equal(top_scatter.collections[0].get_offsets(), points[:2])
    assert "highest 0.9" in top.texts[0].get_text()
    scatters = [figure.axes[i] for i in (1, 3, 5, 7)]
    assert len({(a.get_xlim(), a.get_ylim()) for a in scatters}) == 1
    assert {a.get_xscale() + a.get_yscale() for a in scatters} == {"loglog"}


def test_copies_are_counted_but_not_scattered():
    copies = [False, True, True, False]
    figure = figure_3([ranked("Control", [0.9, 0.9, 0.9, 0.4], copies)], NAMES)
    histogram, scatter = figure.axes[2:]
    assert count(histogram.patches) == 4
    assert count(histogram.containers[1]) == 2
    assert len(scatter.collections[0].get_offsets()) == 2
    assert "2 copies" in histogram.texts[0].get_text()
    assert "copies" in CAPTION


def test_a_slice_without_kept_regions_is_drawn():
    """All rows are copies scored 0 of boxes without area."""
    nothing = RankedSlice("Control", "slice", np.zeros(4), np.zeros((4, 4)), np.ones(4, bool))
    figure = figure_3([nothing], NAMES)
    figure.canvas.draw()
    assert count(figure.axes[2].patches) == 4


def test_invalid_input_is_named():
    with pytest.raises(ValueError, match="at least one"):
        figure_3([], NAMES)
    with pytest.raises(ValueError, match="Tumour"):
        figure_3([ranked("Tumour", [0.5])], NAMES)
