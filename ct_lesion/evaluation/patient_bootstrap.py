"""Confidence intervals of any statistic of slices, by bootstrap over patients.

The slices of a patient resemble each other, so 1,000 slices of ten patients contain far less
information than 1,000 slices of 1,000 patients. Therefore whole patients are drawn with
replacement, each with all of their slices (a cluster bootstrap); drawing single slices would give
intervals that are too narrow.

A *statistic* is a function of slice indices (K,), which may repeat, that returns named numbers: the
same names in every call, NaN for undefined numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ct_lesion.json_files import without_nan

RESAMPLES = 1000
CONFIDENCE = 0.95
MAX_UNDEFINED = 0.1
"""Largest fraction of undefined resamples with which a number still gets an interval."""

Statistic = Callable[[np.ndarray], Mapping[str, float]]


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval, in the unit of the number.

    Attributes:
        estimate: the number for all slices; NaN if undefined.
        low, high: ends of the interval; NaN without an interval.
    """

    estimate: float
    low: float = np.nan
    high: float = np.nan

    def as_dict(self) -> dict[str, float | None]:
        """``{"estimate": ..., "low": ..., "high": ...}`` for JSON, with ``None`` for NaN."""
        return without_nan(asdict(self))


def describe_bootstrap(resamples: int = RESAMPLES) -> str:
    """A note on the intervals, for display below a table."""
    return (
        f"{100 * CONFIDENCE:g} % intervals: percentiles of {resamples:,} bootstrap resamples, in "
        "which patients, not slices, are drawn with replacement. There is no interval with fewer "
        "than 2 patients, or if the number is undefined in more than "
        f"{100 * MAX_UNDEFINED:g} % of the resamples. With fewer than about 20 patients intervals "
        "are too narrow, and if all patients agree, e.g. at 100 %, they shrink to a point."
    )


def patient_resamples(
    patients: Sequence[str] | np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield the slice indices of as many patients as there are, drawn with replacement.

    The same patients and seed give the same resamples.

    Args:
        patients: (M,) the patient of each slice, M > 0.
        resamples: number of resamples.
        seed: seed of the random generator.
    """
    _, group = np.unique(np.asarray(patients), return_inverse=True)
    ends = np.cumsum(np.bincount(group))
    slices = np.split(np.argsort(group, kind="stable"), ends[:-1])
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(len(slices), size=len(slices))
        yield np.concatenate([slices[index] for index in drawn])


def bootstrap_intervals(
    statistic: Statistic,
    patients: Sequence[str] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Percentile intervals of a statistic over the resamples in which it is finite.

    There is no interval (NaN) with fewer than 2 patients, or if the number is undefined in more
    than the fraction ``MAX_UNDEFINED`` of the resamples.

    Args:
        statistic: function of slice indices, e.g. ``lambda i: {"accuracy": correct[i].mean()}``.
        patients: (M,) the patient of each slice.
        resamples: number of resamples, > 0.
        confidence: level of the intervals, between 0 and 1.
        seed: seed of the resamples.

    Returns:
        An interval for each name of the statistic; the estimate is the statistic of all slices.

    Raises:
        ValueError: ``resamples`` is less than 1, or ``confidence`` is not between 0 and 1.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            "expected resamples >= 1 and a confidence between 0 and 1, got "
            f"{resamples} and {confidence}"
        )
    patients = np.asarray(patients)
    estimate = statistic(np.arange(len(patients)))
    if len(np.unique(patients)) < 2:
        return {name: Interval(float(value)) for name, value in estimate.items()}
    drawn = np.empty((resamples, len(estimate)))
    for row, indices in zip(drawn, patient_resamples(patients, resamples, seed), strict=True):
        values = statistic(indices)
        row[:] = [values[name] for name in estimate]
    return {
        name: Interval(float(value), *_percentile_interval(column, confidence))
        for (name, value), column in zip(estimate.items(), drawn.T, strict=True)
    }


def paired_difference(
    statistic_a: Statistic,
    statistic_b: Statistic,
    patients: Sequence[str] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of a - b, both computed on the same resamples of the same slices.

    An interval that excludes 0 corresponds to a significant two-sided test at the level
    1 - ``CONFIDENCE``; there is no p-value.

    Args:
        statistic_a, statistic_b: statistics of slice indices; b has all names of a.
        patients, resamples, seed: see :func:`bootstrap_intervals`.
    """

    def difference(indices: np.ndarray) -> dict[str, float]:
        values_a, values_b = statistic_a(indices), statistic_b(indices)
        return {name: value - values_b[name] for name, value in values_a.items()}

    return bootstrap_intervals(difference, patients, resamples=resamples, seed=seed)


def _percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Ends of the interval; NaN if too many values are not finite."""
    finite = np.isfinite(values)
    if (~finite).mean() > MAX_UNDEFINED:
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.where(finite, values, np.nan), [tail, 1 - tail])
    return float(low), float(high)
