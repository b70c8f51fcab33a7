import numpy as np
import pytest
from matplotlib.colors import to_hex

from ct_lesion.pages.palette import CLASS_COLOURS
from ct_lesion.report.figures.figure_4 import class_colours, figure_4

THRESHOLDS = (0.2, 0.5, 0.9)
NAMES = ("Control", "Common Pneumonia", "COVID-19")
LABELS = np.array([0, 0, 1, 1, 2, 2])
COUNTS = np.array([[0, 0, 0], [1, 0, 0], [3, 1, 0], [5, 3, 0], [60, 20, 4], [80, 31, 7]])


def ticks(axis) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def test_one_panel_per_threshold_with_the_means():
    figure = figure_4(COUNTS, LABELS, NAMES, THRESHOLDS)
    assert [axis.get_title() for axis in figure.axes] == [
        "Score > 0.2",
        "Score > 0.5",
        "Score > 0.9",
    ]
    assert "6 slices, 2 per class" in figure.get_suptitle()
    means = [
        [float(line.get_ydata()[0]) for line in axis.lines if line.get_marker() == "D"]
        for axis in figure.axes
    ]
    assert means == [[0.5, 4, 70], [0, 2, 25.5], [0, 0, 5.5]]
    assert ticks(figure.axes[0])[0].startswith("Control")
    assert ticks(figure.axes[1])[2].endswith("mean 25.50")
    colours = [to_hex(patch.get_facecolor()) for patch in figure.axes[0].patches]
    assert colours == [colour.lower() for colour in CLASS_COLOURS.values()]


def test_a_class_without_slices_says_so():
    figure = figure_4(COUNTS[:4], LABELS[:4], NAMES, THRESHOLDS)
    assert ticks(figure.axes[0])[2].endswith("no slices")
    assert "COVID-19 0" in figure.get_suptitle()
    figure.canvas.draw()


def test_classes_that_are_not_in_the_paper_get_other_colours():
    assert class_colours(("A", "COVID-19", "B")) == ["#1f77b4", "#D55E00", "#2ca02c"]


def test_inconsistent_shapes_are_named():
    with pytest.raises(ValueError, match=r"counts \(6, 3\) do not fit 5 slices"):
        figure_4(COUNTS, LABELS[:5], NAMES, THRESHOLDS)
