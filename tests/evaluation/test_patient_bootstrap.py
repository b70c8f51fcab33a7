"""Bootstrap over patients: known coverage, and cases without an interval."""

import math

import numpy as np
import pytest

from ct_lesion.evaluation.patient_bootstrap import (
    Interval,
    bootstrap_intervals,
    paired_difference,
    patient_resamples,
)


def mean_of(values):
    return lambda indices: {"mean": values[indices].mean()}


def test_coverage_is_that_of_patients_not_of_slices():
    # 40 patients of 4 slices around a mean of 3; most of the variance is between patients
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(40), 4)
    covered = {"patients": 0, "slices": 0}
    for seed in range(200):
        values = 3 + 2 * rng.normal(size=40)[patients] + rng.normal(size=len(patients))
        for unit, ids in (("patients", patients), ("slices", np.arange(len(patients)))):
            found = bootstrap_intervals(mean_of(values), ids, resamples=100, seed=seed)["mean"]
            covered[unit] += found.low <= 3 <= found.high
    assert 0.88 * 200 <= covered["patients"] <= 0.99 * 200
    assert covered["slices"] < 0.8 * 200


def test_interval_of_a_mean_has_the_normal_width():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_intervals(mean_of(values), np.arange(400), confidence=0.9)["mean"]
    error = values.std() / 20
    assert found.estimate == values.mean()
    assert found.low == pytest.approx(values.mean() - 1.645 * error, abs=0.2 * error)
    assert found.high == pytest.approx(values.mean() + 1.645 * error, abs=0.2 * error)


def test_patients_come_with_all_their_slices():
    patients = np.array(["b", "a", "b", "c", "b", "a"])
    own = {"a": [1, 5], "b": [0, 2, 4], "c": [3]}
    seen = set()
    for indices in patient_resamples(patients, resamples=200, seed=3):
        times = {p: {np.count_nonzero(indices == i) for i in slices} for p, slices in own.items()}
        assert all(len(counts) == 1 for counts in times.values())
        drawn = tuple(counts.pop() for counts in times.values())
        assert sum(drawn) == 3
        seen.add(drawn)
    assert len(seen) == 10  # all ways to draw three of three with replacement


def test_same_seed_same_interval_and_names_keep_their_numbers():
    values = np.random.default_rng(0).normal(size=30)

    def both(indices):
        return {"mean": values[indices].mean(), "largest": values[indices].max()}

    first, again = (bootstrap_intervals(both, np.arange(30), resamples=50) for _ in range(2))
    other = bootstrap_intervals(both, np.arange(30), resamples=50, seed=1)
    assert first == again
    assert first["mean"] != other["mean"]
    assert first["largest"].high == values.max() == first["largest"].estimate


@pytest.mark.parametrize("patients", [[], ["p"], ["p", "p", "p"]])
def test_no_interval_of_fewer_than_two_patients(patients):
    found = bootstrap_intervals(lambda i: {"slices": len(i)}, patients)["slices"]
    assert found.estimate == len(patients)
    assert math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize(("positives", "exists"), [(1, False), (5, True)])
def test_no_interval_if_often_undefined(positives, exists):
    # of n patients, k are ill: none is drawn with probability (1 - k/n)^n, about 0.36 and 0.003
    ill = np.arange(20) < positives
    values = np.arange(20.0)

    def mean_of_ill(indices):
        own = values[indices][ill[indices]]
        return {"ill": own.mean() if len(own) else np.inf, "all": values[indices].mean()}

    found = bootstrap_intervals(mean_of_ill, np.arange(20), resamples=300)
    assert math.isfinite(found["ill"].low) == math.isfinite(found["ill"].high) == exists
    assert found["ill"].estimate == values[:positives].mean()
    assert found["all"].low < 9.5 < found["all"].high


def test_paired_difference_uses_the_same_resamples():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(20), 3)
    values = 5 * rng.normal(size=60)
    found = paired_difference(mean_of(values + 0.1), mean_of(values), patients, resamples=100)
    # the spread of the values, which is far larger than 0.1, cancels
    assert found["mean"].low == pytest.approx(0.1) == found["mean"].high
    other = paired_difference(mean_of(values), mean_of(rng.permutation(values)), patients)
    assert other["mean"].low < 0 < other["mean"].high


def test_interval_as_dict_has_no_nan():
    assert Interval(0.5).as_dict() == {"estimate": 0.5, "low": None, "high": None}
    assert Interval(*np.float32([0.5, 0.25, 1])).as_dict() == {
        "estimate": 0.5,
        "low": 0.25,
        "high": 1.0,
    }


@pytest.mark.parametrize("options", [{"resamples": 0}, {"confidence": 95}, {"confidence": 0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="a confidence between 0 and 1"):
        bootstrap_intervals(mean_of(np.ones(3)), ["a", "b", "c"], **options)
