"""Counts of regions and tests on them, against SciPy, statsmodels and hand-computed values."""

import math
import warnings

import numpy as np
import pytest
from scipy.stats import ks_2samp
from statsmodels.stats.multitest import multipletests

from ct_lesion.evaluation.region_statistics import (
    alternative_in_words,
    balanced_sample,
    count_above,
    describe_counts,
    ks_tests,
    paper_pairs,
)

NAMES = ("Control", "Common Pneumonia", "COVID-19")


def test_counts_above_a_threshold():
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.4, 0.3, 0.3, 0.2], [0.1, 0, 0, 0]])
    no_copies = np.zeros((3, 4), bool)
    assert count_above(scores, no_copies, 0.2).tolist() == [3, 3, 0]  # 0.2 is not above 0.2
    assert count_above(scores, no_copies, 0.5).tolist() == [1, 0, 0]


def test_copies_that_pad_a_batch_are_not_counted():
    # slices with one kept region, with three, and without any (all rows are copies, score 0)
    scores = np.array([[0.9, 0.9, 0.9, 0.9], [0.8, 0.8, 0.6, 0.1], [0, 0, 0, 0]])
    is_copy = np.array([[0, 1, 1, 1], [0, 1, 0, 0], [1, 1, 1, 1]])
    assert count_above(scores, is_copy, 0.5).tolist() == [1, 2, 0]
    assert count_above(scores, is_copy, 0.05).tolist() == [1, 3, 0]


def test_balanced_sample():
    labels = np.repeat([2, 0, 1], [30, 20, 10])
    for wanted, size in ((5, 5), (475, 10)):
        drawn = balanced_sample(labels, wanted)
        assert np.bincount(labels[drawn]).tolist() == [size] * 3
        assert (np.diff(drawn) > 0).all()  # ascending, none twice
    assert balanced_sample(labels, 5).tolist() == balanced_sample(labels, 5).tolist()
    assert balanced_sample(labels, 5).tolist() != balanced_sample(labels, 5, seed=1).tolist()


def test_balanced_sample_without_a_class_or_without_slices():
    labels = np.repeat([0, 2], [4, 9])
    assert np.bincount(labels[balanced_sample(labels)]).tolist() == [4, 0, 4]
    assert balanced_sample(np.zeros(0, dtype=int)).tolist() == []


def test_description_by_hand():
    counts = {0.2: np.array([1, 2, 3, 6, 0]), 0.5: np.array([0, 0, 1, 1, 4])}
    labels = np.array([0, 0, 0, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        padded = np.array([True, False, True, False, True])
        patients = ["p", "p", "q", "r", "s"]
        found = describe_counts(counts, labels, NAMES, patients, padded, resamples=200)
    assert [(c.threshold, c.class_name) for c in found] == [
        (t, name) for t in (0.2, 0.5) for name in NAMES
    ]
    control, pneumonia, covid = found[:3]
    assert (control.slices, control.patients, control.padded) == (4, 3, 2)
    assert control.mean.estimate == 3
    assert control.spread == pytest.approx(1.96 * math.sqrt(14 / 3))
    assert (control.mean.low, control.mean.high) == (1.5, 6)  # patient p or r three times
    assert (pneumonia.slices, pneumonia.mean.estimate) == (1, 0)
    assert math.isnan(pneumonia.spread) and math.isnan(pneumonia.mean.low)
    assert (covid.slices, covid.patients) == (0, 0)
    assert math.isnan(covid.mean.estimate)
    assert found[3].mean.estimate == 0.5
    assert found[4].mean.estimate == 4


def test_pairs_in_the_papers_order():
    assert paper_pairs(NAMES) == [
        ("COVID-19", "Common Pneumonia"),
        ("COVID-19", "Control"),
        ("Common Pneumonia", "Control"),
    ]
    assert paper_pairs(("healthy", "ill")) == [("ill", "healthy")]


def test_direction_and_statistic_by_hand():
    counts = {0.5: np.array([0, 1, 2, 5, 3, 4, 5, 6])}
    (test,) = ks_tests(counts, np.repeat([0, 1], 4), ("healthy", "ill"))
    # up to the count 2, there are three of four healthy slices and no ill slice
    assert test.statistic == 0.75
    assert test.alternative == "ill slices have more such RoIs than healthy slices"
    assert test.alternative == alternative_in_words(test.first, test.second)
    (reverse,) = ks_tests(counts, np.repeat([1, 0], 4), ("healthy", "ill"))
    assert reverse.statistic == 0
    assert reverse.p == 1


def test_agrees_with_scipy_and_statsmodels():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 60)
    counts = {t: rng.poisson(np.repeat([2, 3, 4.5], 60)) for t in (0.2, 0.9)}
    tests = ks_tests(counts, labels, NAMES)
    samples = [
        (counts[t][labels == NAMES.index(a)], counts[t][labels == NAMES.index(b)])
        for t in (0.2, 0.9)
        for a, b in paper_pairs(NAMES)
    ]
    expected = [ks_2samp(x, y, alternative="less") for x, y in samples]
    holm = multipletests([e.pvalue for e in expected], alpha=0.01, method="holm")
    assert [t.p for t in tests] == [e.pvalue for e in expected]
    assert [t.statistic for t in tests] == [e.statistic for e in expected]
    assert [t.p_holm for t in tests] == holm[1].tolist()
    assert [t.significant for t in tests] == [e.pvalue < 0.01 for e in expected]
    assert [t.significant_holm for t in tests] == holm[0].tolist()
    # the two differ in this sample, so one is not mistaken for the other
    assert [t.significant for t in tests] != [t.significant_holm for t in tests]
    assert [t.threshold for t in tests] == [0.2] * 3 + [0.9] * 3


def test_constant_or_absent_sample_is_not_tested():
    labels = np.repeat([0, 1, 2], 10)
    some = np.tile(np.arange(10), 3)
    counts = {0.5: some + 3 * labels, 0.9: np.where(labels == 0, 0, some + 3 * labels)}
    tests = {(t.threshold, t.first, t.second): t for t in ks_tests(counts, labels, NAMES)}
    untested = {key for key, t in tests.items() if t.reason == "N/A: constant"}
    assert untested == {(0.9, "COVID-19", "Control"), (0.9, "Common Pneumonia", "Control")}
    for key in untested:
        assert math.isnan(tests[key].statistic) and math.isnan(tests[key].p_holm)
        assert tests[key].significant is None is tests[key].significant_holm
    # corrected for the four tests that were made: the smallest p four times
    smallest = tests[0.5, "COVID-19", "Control"]
    assert smallest.p_holm == pytest.approx(4 * smallest.p)

    tests = ks_tests({0.5: some[:20] + labels[:20]}, labels[:20], NAMES)
    assert [t.reason for t in tests] == ["N/A: no slices", "N/A: no slices", ""]
    assert tests[2].p_holm == tests[2].p
