import numpy as np
import pytest
from matplotlib.colors import to_rgba

from ct_lesion.evaluation.region_importance import DeletionCurves
from ct_lesion.report.figures.explanation_figure import (
    IMPORTANCE_MAP,
    ExplainedSlice,
    deletion_figure,
    importance_figure,
    most_important,
)

NAN = float("nan")


def explained(importance: list[float]) -> ExplainedSlice:
    number = len(importance)
    boxes = np.array([[2.0 * i, 3, 2 * i + 6, 12] for i in range(number)])
    return ExplainedSlice(
        title="slice",
        class_name="COVID-19",
        logit=3.25,
        image=np.full((24, 24), 80, np.uint8),
        boxes=boxes,
        scores=np.linspace(0.9, 0.001, number),
        importance=np.array(importance),
    )


def test_the_most_important_rows_have_the_largest_absolute_importance():
    importance = np.array([0.5, -2, NAN, 0, 1, -0.5])
    assert most_important(importance, 3).tolist() == [1, 4, 0]
    assert most_important(importance, 9).tolist() == [1, 4, 0, 5]
    assert most_important(np.full(4, NAN), 3).tolist() == []


def test_regions_and_bars_have_the_colour_of_their_importance(monkeypatch):
    monkeypatch.setattr("ct_lesion.report.figures.explanation_figure.TOP", 2)
    figure = importance_figure([explained([0.5, -2, NAN, 0, 1])])
    image, bars, _ = figure.axes
    assert "Not for clinical use" in figure.get_suptitle()
    # drawn from the least to the most important; -2 is the end of the scale, 1 in its upper half
    boxes = {patch.get_x(): patch.get_edgecolor() for patch in image.patches}
    assert boxes == {7.5: to_rgba(IMPORTANCE_MAP(0.75)), 1.5: to_rgba(IMPORTANCE_MAP(0.0))}
    assert [text.get_text() for text in image.texts] == ["5", "2"]
    assert image.get_xlabel() == "rank 2: score 0.68   rank 5: score 0.001"
    # no bar where a row repeats another
    assert [(b.get_x() + 0.5, b.get_height()) for b in bars.patches] == [
        (1, 0.5), (2, -2), (4, 0), (5, 1),
    ]  # fmt: skip
    assert bars.patches[1].get_facecolor() == to_rgba(IMPORTANCE_MAP(0.0))
    assert sorted(text.get_text() for text in bars.texts) == ["2", "5"]
    assert bars.get_title() == "COVID-19: logit +3.25"


def test_slices_share_their_scales():
    figure = importance_figure([explained([4.0, 0]), explained([1.0, -2])])
    first, second = figure.axes[1], figure.axes[3]
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[0] < -2
    assert first.get_ylim()[1] > 4
    assert second.patches[0].get_facecolor() == to_rgba(IMPORTANCE_MAP(0.625))


@pytest.mark.parametrize("importance", [[NAN] * 3, [0.0] * 3])
def test_a_slice_without_importance_is_drawn_and_labelled(importance):
    figure = importance_figure([explained(importance)])
    figure.canvas.draw()
    assert figure.axes[0].get_xlabel() == "no region has an importance other than 0"
    assert not figure.axes[0].patches


def test_deletion_curves_are_drawn_at_equal_distances():
    curves = DeletionCurves(
        np.array([0, 1, 2, 8]),
        most=np.array([5.0, 3, 1, -2]),
        random=np.array([5.0, 4.8, 4.5, 3]),
        least=np.array([5.0, 5.5, 6, 4]),
    )
    figure = deletion_figure({"Control": curves, "COVID-19": curves})
    assert [axis.get_title() for axis in figure.axes] == ["Control", "COVID-19"]
    axis = figure.axes[0]
    drawn = {line.get_label(): line for line in axis.lines}
    assert drawn["most important first"].get_ydata().tolist() == [5, 3, 1, -2]
    assert drawn["random rows"].get_ydata().tolist() == [5, 4.8, 4.5, 3]
    assert drawn["random rows"].get_xdata().tolist() == [0, 1, 2, 3]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2", "8"]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        importance_figure([])
    with pytest.raises(ValueError, match="at least one"):
        deletion_figure({})
