"""Two runs on the same slices, against hand-computed values and SciPy's binomial test."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from ct_lesion.errors import UserError
from ct_lesion.evaluation.run_comparison import SliceMismatch, check_same_slices, compare_runs


def logits_of(labels, right) -> np.ndarray:
    """Logits of three classes, correct where `right` is true."""
    return np.eye(3)[np.where(right, labels, (np.asarray(labels) + 1) % 3)]


def test_counts_and_mcnemar():
    labels = np.arange(30) % 3
    right_a = np.repeat([1, 1, 0, 0], [12, 9, 2, 7]).astype(bool)
    right_b = np.repeat([1, 0, 1, 0], [12, 9, 2, 7]).astype(bool)
    found = compare_runs(
        labels, logits_of(labels, right_a), logits_of(labels, right_b), np.arange(30)
    )
    assert (found.both, found.only_a, found.only_b, found.neither) == (12, 9, 2, 7)
    # of the 11 slices that only one run predicts correctly, 9 are A's
    assert found.mcnemar_p == pytest.approx(binomtest(9, 11).pvalue)
    assert (found.accuracy_a, found.accuracy_b) == (21 / 30, 14 / 30)
    difference = found.difference
    assert difference.estimate == pytest.approx(7 / 30)
    # the difference of a slice is 1, 0 or -1, with variance 11/30 - (7/30)^2
    half = 1.96 * math.sqrt((11 / 30 - (7 / 30) ** 2) / 30)
    assert difference.low == pytest.approx(7 / 30 - half, abs=0.05)
    assert difference.high == pytest.approx(7 / 30 + half, abs=0.05)


def test_patients_widen_the_interval():
    labels = np.zeros(60, dtype=int)
    right_a = np.repeat(np.arange(6) < 4, 10)
    arguments = labels, logits_of(labels, right_a), logits_of(labels, ~right_a)
    patients = compare_runs(*arguments, np.repeat(np.arange(6), 10)).difference
    slices = compare_runs(*arguments, np.arange(60)).difference
    assert patients.high - patients.low > 1.5 * (slices.high - slices.low)


def test_equal_runs_have_no_difference():
    labels = np.array([0, 1, 2, 0])
    logits = logits_of(labels, [True, False, True, True])
    found = compare_runs(labels, logits, logits, list("aabb"))
    assert found.mcnemar_p == 1
    assert (found.difference.low, found.difference.high) == (0, 0)
    alone = compare_runs(labels, logits, logits, list("aaaa")).difference
    assert alone.estimate == 0 and math.isnan(alone.low)


def test_same_slices_in_another_order():
    ours, theirs = np.array(["a", "b", "c"]), np.array(["c", "a", "b"])
    order = check_same_slices(ours, theirs, "first", "second")
    assert theirs[order].tolist() == ours.tolist()


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (["a", "d"], "2 are only in first, e.g. b; 1 is only in second, e.g. d."),
        (["a", "b"], "first and second were not evaluated on the same slices: 1 is only in first"),
        (["a", "b", "c", "d", "e"], "slices: 2 are only in second, e.g. d."),
        ([], "3 are only in first, e.g. a."),
        (["a", "b", "c", "b"], "second has repeated slices, e.g. b."),
    ],
)
def test_a_mismatch_of_slices_is_one_line(theirs, message):
    with pytest.raises(SliceMismatch) as caught:
        check_same_slices(["a", "b", "c"], theirs, "first", "second")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_arrays_must_have_the_same_length():
    with pytest.raises(ValueError, match="same length > 0"):
        compare_runs([], np.zeros((0, 3)), np.zeros((0, 3)), [])
    with pytest.raises(ValueError, match="same length > 0"):
        compare_runs([0, 1], np.zeros((2, 3)), np.zeros((3, 3)), "ab")
