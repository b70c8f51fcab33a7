"""Confidence intervals by bootstrap over patients, of any statistic of slices.

The slices of a patient resemble each other, so a thousand slices of ten patients hold far less
information than a thousand slices of a thousand patients. Whole patients are therefore drawn with
replacement, each with all of their slices; drawing single slices gives intervals that are too
narrow.

A *statistic* is a function of slice indices (K,), with repetition, that returns one or several
named numbers: always the same names, NaN for what is not defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from ct_lesion.json_files import without_nan

RESAMPLES = 1000
CONFIDENCE = 0.95
MAX_UNDEFINED = 0.1
"""Largest fraction of resamples in which a number with an interval may be undefined."""

Statistic = Callable[[np.ndarray], Mapping[str, float]]


@dataclass(frozen=True)
class Interval:
    """A number and its confidence interval, in the number's own unit.

    Attributes:
        estimate: of all slices; NaN where it is not defined.
        low, high: ends of the interval; NaN where there is none.
    """

    estimate: float
    low: float = np.nan
    high: float = np.nan

    def as_dict(self) -> dict[str, float | None]:
        """``{"estimate": ..., "low": ..., "high": ...}`` for JSON: ``None`` in place of NaN."""
        return without_nan(asdict(self))


def describe_bootstrap(resamples: int = RESAMPLES, confidence: float = CONFIDENCE) -> str:
    """What the intervals are and when there are none, as a note below a table."""
    return (
        f"{100 * confidence:g} % intervals: percentiles of {resamples:,} bootstrap resamples, in "
        "which patients, not slices, are drawn with replacement. There is none where there are "
        "fewer than 2 patients, or where the number is undefined in more than "
        f"{100 * MAX_UNDEFINED:g} % of the resamples. With fewer than about 20 patients they are "
        "too narrow, and where all patients agree, e.g. at 100 %, they shrink to a point."
    )


def patient_resamples(
    patients: Sequence[str] | np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Iterator[np.ndarray]:
    """Slice indices of as many patients as there are, drawn with replacement.

    The same patients and seed give the same resamples.

    Args:
        patients: (M,) the patient of each slice, M > 0.
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
    """Percentile intervals of a statistic, over the resamples in which it is finite.

    There is no interval (NaN) where there are fewer than 2 patients, or where the number is
    undefined in more than a tenth of the resamples (``MAX_UNDEFINED``).

    Args:
        statistic: of slice indices, e.g. ``lambda i: {"accuracy": correct[i].mean()}``.
        patients: (M,) the patient of each slice.
        confidence: between 0 and 1.

    Returns:
        An interval for each name of the statistic; the estimate is that of all slices once.

    Raises:
        ValueError: no resamples, or a confidence that is not between 0 and 1.
    """
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"{resamples} resamples with confidence {confidence}")
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
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of a - b, both computed on the same resamples of the same slices.

    An interval that leaves out 0 is a two-sided test at the level 1 - confidence; there is no
    p-value of its own. Arguments as for :func:`bootstrap_intervals`; b has all names of a.
    """

    def difference(indices: np.ndarray) -> dict[str, float]:
        ours, theirs = statistic_a(indices), statistic_b(indices)
        return {name: value - theirs[name] for name, value in ours.items()}

    return bootstrap_intervals(
        difference, patients, resamples=resamples, confidence=confidence, seed=seed
    )


def _percentile_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Ends of the interval; NaN where too many of the values are not finite."""
    finite = np.isfinite(values)
    if (~finite).mean() > MAX_UNDEFINED:
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(np.where(finite, values, np.nan), [tail, 1 - tail])
    return float(low), float(high)
