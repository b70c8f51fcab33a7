import numpy as np
import pytest
from matplotlib.colors import to_hex

from ct_lesion.pages.palette import CLASS_COLOURS, TRUTH
from ct_lesion.report.figures.figure_2 import (
    CAPTION,
    LABELLED,
    LUNG_COLOUR,
    NO_LESION,
    NO_TRUTH,
    TRUE_COLOUR,
    Regions,
    ScoredSlice,
    figure_2,
)

NAMES = ("Control", "Common Pneumonia", "COVID-19")
SIZE = 32


def square(start: int, side: int) -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[start : start + side, start : start + side] = True
    return mask


def scored_slice(scores: tuple[float, ...] = (0.9, 0.3), **kwargs: object) -> ScoredSlice:
    boxes = np.array([[4.0 + i, 4, 14 + i, 14] for i in range(len(scores))])
    score_map = np.full((SIZE, SIZE), np.nan)
    score_map[4:14, 4:14] = -2.0
    score_map[6:12, 6:12] = 5.0
    masks = np.stack([square(6, 6)] * len(scores))
    regions = Regions(boxes, np.array(scores), ["Lesion"] * len(scores), masks)
    image = np.full((SIZE, SIZE), 90, np.uint8)
    return ScoredSlice("slice", image, regions, score_map, NAMES, **kwargs)


WITH_TRUTH = {"lesion_mask": square(5, 8), "lung_mask": square(2, 28)}


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_one_row_per_slice_and_one_scale_for_all_maps():
    figure = figure_2([scored_slice(), scored_slice(**WITH_TRUTH)])
    assert len(figure.axes) == 2 * 4 + 1  # and the colour bar
    assert "Not for clinical use" in figure.get_suptitle()
    assert "Not for clinical use" in CAPTION
    maps = [figure.axes[row * 4 + 1].images[-1] for row in range(2)]
    assert [m.get_clim() for m in maps] == [(-5, 5)] * 2
    # nothing is drawn outside the boxes
    assert np.ma.getmaskarray(maps[0].get_array()).sum() == SIZE * SIZE - 100


def test_every_region_is_drawn_and_the_first_are_named():
    scores = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
    axis = figure_2([scored_slice(scores)]).axes[0]
    assert len(axis.patches) == len(scores)
    assert texts(axis) == [str(i + 1) for i in range(LABELLED)]
    assert "1 Lesion 0.90" in axis.get_xlabel()
    assert "and 2 more" in axis.get_xlabel()
    x, y = axis.patches[0].get_xy()
    assert (x, y) == (3.5, 3.5)  # the corner of the pixel whose centre is 4, 4


def test_a_low_scoring_region_is_dashed_and_its_score_is_not_shown_as_0():
    axis = figure_2([scored_slice((0.0034,))]).axes[0]
    assert [p.get_linestyle() for p in axis.patches] == ["--"]
    assert axis.get_xlabel() == "1 Lesion 0.003"
    axis = figure_2([scored_slice((0.9, 0.05, 0.04))]).axes[0]
    assert [p.get_linestyle() for p in axis.patches] == ["-", "--", "--"]


def test_ground_truth_is_yellow_on_green():
    axis = figure_2([scored_slice(**WITH_TRUTH)]).axes[2]
    picture = axis.images[0].get_array()
    assert to_hex(picture[6, 6]) == TRUTH
    assert to_hex(picture[20, 20]) == LUNG_COLOUR
    assert to_hex(picture[0, 0]) == "#000000"
    assert axis.get_xlabel() == ""


@pytest.mark.parametrize("lungs", [square(2, 28), None])
def test_no_lesion_is_not_the_same_as_no_ground_truth(lungs):
    nothing = np.zeros((SIZE, SIZE), bool)
    axis = figure_2([scored_slice(lesion_mask=nothing, lung_mask=lungs)]).axes[2]
    assert NO_LESION in axis.get_xlabel()
    assert ("lungs unknown" in axis.get_xlabel()) == (lungs is None)
    axis = figure_2([scored_slice(lung_mask=lungs)]).axes[2]
    assert texts(axis) == [NO_TRUTH]
    assert not axis.images


def test_logits_with_true_class_and_winner():
    logits = np.array([-1.5, 2.25, 0.5])
    figure = figure_2([scored_slice(true_class=2, logits=logits), scored_slice(logits=-logits)])
    axis, unknown = figure.axes[3], figure.axes[7]
    assert [bar.get_width() for bar in axis.patches] == logits.tolist()
    assert [to_hex(bar.get_facecolor()) for bar in axis.patches] == [
        colour.lower() for colour in CLASS_COLOURS.values()
    ]
    by_text = {text.get_text(): text for text in axis.texts}
    assert set(by_text) == {
        "Control", "-1.50", "Common Pneumonia", "▶ +2.25", "COVID-19 (true)", "+0.50",
    }  # fmt: skip
    assert by_text["COVID-19 (true)"].get_color() == TRUE_COLOUR
    bold = {text for text, drawn in by_text.items() if drawn.get_weight() == "bold"}
    assert bold == {"Common Pneumonia", "▶ +2.25"}
    assert unknown.get_xlabel() == "true class unknown"
    assert axis.get_xlim() == unknown.get_xlim()


def test_the_true_class_is_shown_without_a_classifier():
    axis = figure_2([scored_slice(true_class=0)]).axes[3]
    assert texts(axis) == ["no classifier in this run", "Control (true)"]
    assert not axis.patches


def test_slices_without_regions_can_be_drawn():
    nothing = Regions(np.zeros((0, 4)), np.zeros(0), [], np.zeros((0, SIZE, SIZE), bool))
    image = np.zeros((SIZE, SIZE), np.uint8)
    piece = ScoredSlice("slice", image, nothing, np.full((SIZE, SIZE), np.nan), NAMES)
    figure = figure_2([piece])
    figure.canvas.draw()
    assert figure.axes[1].images[-1].get_clim() == (-1, 1)
    with pytest.raises(ValueError, match="at least one"):
        figure_2([])
