"""Calibration, against scikit-learn and numbers calculated by hand."""

import warnings

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from ct_lesion.evaluation.calibration import (
    TEMPERATURE_LIMITS,
    apply_temperature,
    at_limit,
    brier_score,
    calibration,
    fit_temperature,
    log_loss,
    reliability_bins,
)


def simulated(count: int, temperature: float, seed: int = 0):
    """Labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(count, 3))
    chances = softmax(logits / temperature, axis=1).cumsum(axis=1)
    return (rng.random((count, 1)) > chances).sum(axis=1), logits


def test_ece_by_hand():
    # of 15 bins, (9/15, 10/15] holds the confidences 0.61 and 0.65, (14/15, 1] the three of 0.95
    confidence = np.array([0.61, 0.65, 0.95, 0.95, 0.95])
    logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
    labels = np.array([0, 1, 0, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bins = reliability_bins(labels, logits)
    np.testing.assert_allclose(bins.edges, np.arange(16) / 15)
    assert np.flatnonzero(bins.slices).tolist() == [9, 14]
    assert bins.slices[[9, 14]].tolist() == [2, 3]
    np.testing.assert_allclose(bins.confidence[[0, 9, 14]], [np.nan, 0.63, 0.95])
    np.testing.assert_allclose(bins.accuracy[[0, 9, 14]], [np.nan, 1 / 2, 2 / 3])
    assert bins.ece == pytest.approx(2 / 5 * 0.13 + 3 / 5 * (0.95 - 2 / 3))


def test_bins_contain_their_upper_edge():
    # confidence 1/3, the upper edge of the fifth bin, and 1
    bins = reliability_bins(np.array([0, 1]), np.array([[0.0, 0, 0], [-1000, 1000, -1000]]))
    assert np.flatnonzero(bins.slices).tolist() == [4, 14]
    assert bins.accuracy[[4, 14]].tolist() == [1, 1]


def test_brier_and_log_loss_agree_with_scikit_learn():
    labels, logits = simulated(200, 1.5)
    chances = softmax(logits, axis=1)
    found = calibration(labels, logits)
    assert found.nll == pytest.approx(sk.log_loss(labels, chances))
    # a class against the rest has the squared error of that class
    by_class = [sk.brier_score_loss(labels == c, chances[:, c]) for c in range(3)]
    assert found.brier == pytest.approx(sum(by_class))
    assert found.ece == found.reliability.ece
    assert found.reliability.slices.sum() == 200
    assert len(found.reliability.edges) == 16


def test_limits_of_brier_score_and_log_loss():
    sure = np.array([[1000.0, 0, 0], [0, 1000, 0]])
    assert brier_score([0, 1], sure) == 0 == log_loss([0, 1], sure)
    assert brier_score([1, 2], sure) == 2
    assert log_loss([1, 2], sure) == 1000  # from a probability that rounds to 0
    assert brier_score([0], np.zeros((1, 3))) == pytest.approx((2 / 3) ** 2 + 2 / 9)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_temperature_is_recovered(true):
    labels, logits = simulated(20_000, true)
    found = fit_temperature(labels, logits)
    assert found == pytest.approx(true, rel=0.05)
    assert not at_limit(found)
    before, after = (calibration(labels, x) for x in (logits, apply_temperature(logits, found)))
    assert after.nll <= before.nll
    assert after.ece < 0.02
    if true != 1:
        assert after.ece < before.ece / 2


def test_temperature_keeps_the_predictions():
    _, logits = simulated(50, 1)
    assert (apply_temperature(logits, 7).argmax(axis=1) == logits.argmax(axis=1)).all()
    assert apply_temperature(np.array([[2, 4]]), 4).tolist() == [[0.5, 1]]


@pytest.mark.parametrize("scale", [0.1, 500])
def test_temperature_is_a_limit_if_the_loss_has_no_minimum(scale):
    labels = np.array([0, 1, 2, 1])
    right = scale * np.eye(3)[labels]
    assert fit_temperature(labels, right) == TEMPERATURE_LIMITS[0]
    wrong = scale * np.eye(3)[(labels + 1) % 3]
    assert fit_temperature(labels, wrong) == TEMPERATURE_LIMITS[1]
    assert all(map(at_limit, TEMPERATURE_LIMITS))


@pytest.mark.parametrize("function", [calibration, reliability_bins, log_loss, fit_temperature])
def test_no_slices_are_refused(function):
    with pytest.raises(ValueError, match="M > 0 labels"):
        function(np.zeros(0), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="for 2 labels"):
        function([0, 1], np.zeros((3, 3)))
