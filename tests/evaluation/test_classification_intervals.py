"""Intervals of the classification metrics, against scikit-learn and the plain metrics."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ct_lesion.evaluation.classification_intervals import (
    auc_of_ranks,
    classification_intervals,
    classification_statistic,
)
from ct_lesion.evaluation.classification_metrics import classification_metrics

NAMES = ("Control", "Common Pneumonia", "COVID-19")


def toy(count: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1, 2], rng.integers(0, 3, count - 3)])
    # rounded, so that there are ties
    logits = np.round(rng.normal(size=(count, 3)) + np.eye(3)[labels], 1)
    return labels, logits


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), values=st.sampled_from([2, 5, 1000]))
def test_area_agrees_with_scikit_learns_weighted_area(seed, values):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, values, 40) / values
    positive = rng.random(40) < 0.4
    positive[:2] = True, False
    indices = np.concatenate([[0, 1], rng.integers(0, 40, 50)])
    ranks = np.unique(scores, return_inverse=True)[1]
    area = auc_of_ranks(positive[indices], ranks[indices], 40)
    weights = np.bincount(indices, minlength=40)
    assert area == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.sampled_from([(0,), (0, 2), (0, 1, 2)]))
def test_statistic_agrees_with_the_plain_metrics_of_a_resample(seed, classes):
    labels, logits = toy(40, seed)
    statistic = classification_statistic(labels, logits, NAMES)
    drawn = np.flatnonzero(np.isin(labels, classes))
    indices = np.random.default_rng(seed).choice(drawn, 25)
    expected = classification_metrics(labels[indices], logits[indices], NAMES).as_dict()
    found = statistic(indices)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-12)


def test_intervals_hold_the_estimates_and_shrink_with_more_patients():
    widths = []
    for count in (120, 1200):
        labels, logits = toy(count)
        patients = [f"p{i // 4}" for i in range(count)]
        found = classification_intervals(labels, logits, NAMES, patients, resamples=100)
        expected = classification_metrics(labels, logits, NAMES).as_dict()
        assert {k: v.estimate for k, v in found.items()} == pytest.approx(expected)
        assert all(v.low < v.estimate < v.high for v in found.values())
        widths.append({k: v.high - v.low for k, v in found.items()})
    assert all(widths[1][name] < widths[0][name] for name in widths[0])


def test_absent_class_is_nan_without_a_warning():
    labels, logits = toy(60)
    kept = labels != 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classification_intervals(
            labels[kept], logits[kept], NAMES, np.arange(kept.sum()), resamples=50
        )
    absent = {"sensitivity/COVID-19", "F1/COVID-19", "AUC/COVID-19"}
    assert {name for name, v in found.items() if math.isnan(v.estimate)} == absent
    assert {name for name, v in found.items() if math.isnan(v.low)} == absent
    assert found["PPV/COVID-19"].estimate == 0  # predicted, but never correctly


def test_metrics_can_be_chosen():
    labels, logits = toy(30)
    found = classification_intervals(
        labels, logits, NAMES, np.arange(30), metrics=("AUC",), resamples=5
    )
    assert list(found) == ["accuracy", *(f"AUC/{name}" for name in NAMES)]


def test_mismatched_arrays_and_unknown_metrics_are_refused():
    labels, logits = toy(30)
    with pytest.raises(ValueError, match="got 29 patients for 30 labels"):
        classification_intervals(labels, logits, NAMES, np.arange(29))
    with pytest.raises(ValueError, match="recall"):
        classification_intervals(labels, logits, NAMES, np.arange(30), metrics=("recall",))
    with pytest.raises(ValueError, match="for 30 labels and 2 classes"):
        classification_intervals(labels, logits, NAMES[:2], np.arange(30))
