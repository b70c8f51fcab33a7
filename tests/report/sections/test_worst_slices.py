import numpy as np
import pytest
from scipy.special import log_softmax

from ct_lesion.report.sections.worst_slices import (
    classification_losses,
    classified_slices_figure,
    read_grey,
    worst_classified,
    worst_classified_table,
    worst_dice,
)

LABELS = np.array([0, 1, 2, 0])
LOGITS = np.array([[2.0, 0, 0], [5, 0, 0], [1, 0, 0], [0, 3, 0]])


def test_losses_are_those_of_the_softmax():
    expected = -log_softmax(LOGITS, axis=1)[np.arange(4), LABELS]
    np.testing.assert_allclose(classification_losses(LABELS, LOGITS), expected)


def test_only_wrong_slices_are_shown_the_most_confident_first():
    assert worst_classified(LABELS, LOGITS, 10).tolist() == [1, 3, 2]
    assert worst_classified(LABELS, LOGITS, 2).tolist() == [1, 3]
    assert worst_classified(LABELS[:1], LOGITS[:1], 2).tolist() == []


def test_table_of_the_worst_slices():
    table = worst_classified_table(
        "worst",
        "The worst",
        [1],
        files=np.array(["x/a.png", "x/b.png", "c", "d"]),
        patients=np.array(["p", "q", "r", "s"]),
        labels=LABELS,
        logits=LOGITS,
        class_names=("Control", "Pneumonia", "COVID-19"),
    )
    assert table.rows == [["b.png", "q", "Pneumonia", "Control", 5.0, 0.0, 0.0]]


def test_slices_without_dice_are_left_out():
    assert worst_dice({1: 0.5, 2: float("nan"), 3: 0.1, 4: 0.1}, 2) == [3, 4]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_pictures_of_any_number_of_slices(count, tmp_path):
    images = [np.zeros((8, 8), np.uint8)] * count
    figure = classified_slices_figure(images, ["title"] * count)
    assert sum(bool(axis.images) for axis in figure.axes) == count
    figure.savefig(tmp_path / "worst.png")


def test_a_missing_slice_is_none(tmp_path):
    assert read_grey(tmp_path / "none.png") is None
