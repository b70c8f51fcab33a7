"""Aggregation of slices to scans and patients, against hand-computed values."""

import numpy as np
import pytest

from ct_lesion.evaluation.aggregation import aggregate, scan_units
from ct_lesion.evaluation.classification_metrics import classification_metrics


def test_mean_logits_by_hand():
    # by majority of slices, patient b would be class 0; by the mean of the logits it is class 1
    labels = np.array([1, 0, 1, 1, 0])
    logits = np.array([[1.0, 0], [3, 0], [1, 0], [0, 8], [1, 0]])
    found = aggregate(labels, logits, ["b", "a", "b", "b", "a"])
    assert found.units.tolist() == ["a", "b"]
    assert found.labels.tolist() == [0, 1]
    assert found.logits.tolist() == [[2, 0], [2 / 3, 8 / 3]]
    assert found.slices.tolist() == [2, 3]
    assert found.first.tolist() == [1, 0]
    assert found.mixed == ()
    assert classification_metrics(found.labels, found.logits, "xy").accuracy == 1
    assert classification_metrics(labels, logits, "xy").accuracy == 3 / 5


def test_unit_with_several_classes_is_left_out_and_named():
    labels = np.array([0, 1, 2, 2, 0])
    found = aggregate(labels, np.eye(3)[labels], ["m", "m", "p", "p", "q"])
    assert found.mixed == ("m",)
    assert found.units.tolist() == ["p", "q"]
    assert found.labels.tolist() == [2, 0]
    assert found.logits.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert found.first.tolist() == [2, 4]


def test_scans_of_different_patients_are_different():
    patients, scans = np.array(["1", "1", "2", "2"]), ["1", "2", "1", "1"]
    units = scan_units(patients, scans)
    assert units.tolist() == ["1/1", "1/2", "2/1", "2/1"]
    found = aggregate([0, 0, 1, 1], np.zeros((4, 2)), units)
    assert found.slices.tolist() == [1, 1, 2]
    assert patients[found.first].tolist() == ["1", "1", "2"]


def test_all_mixed_leaves_nothing():
    found = aggregate([0, 1], np.zeros((2, 2)), ["p", "p"])
    assert found.mixed == ("p",)
    assert len(found.units) == len(found.labels) == 0
    assert found.logits.shape == (0, 2)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 2, 2 and 1"):
        aggregate([0, 1], np.zeros((2, 2)), ["p"])
