"""Numbers of regions (RoIs) per slice above a score, by class: the paper's section 3.2.

These are the data of the paper's Figure 4, Table 4 (mean counts) and Table 5 (Kolmogorov-Smirnov
tests of the counts). Shapes: M slices with N RoIs each, C classes. Counts are given as
``{threshold: (M,) counts}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp
from statsmodels.stats.multitest import multipletests

from .patient_bootstrap import RESAMPLES, Interval, Statistic, bootstrap_intervals

THRESHOLDS = (0.2, 0.5, 0.9)
PER_CLASS_SLICES = 475
ALPHA = 0.01
NORMAL_QUANTILE = 1.96
KS_NOTE = (
    "The tests treat slices as independent. Slices of a patient are not, so the p-values are too "
    "small; many equal counts, in contrast, make them larger than for continuous values."
)


@dataclass(frozen=True)
class CountSummary:
    """A cell of the paper's Table 4.

    Attributes:
        slices, patients: number of slices and patients.
        padded: number of slices whose RoI batch is padded with copies.
        spread: 1.96 standard deviations of the counts (divisor n - 1), apparently the paper's "±";
            NaN for fewer than 2 slices. It measures the variation between slices, not the
            uncertainty of the mean.
        mean: mean count, with its bootstrap interval over patients; NaN without slices.
    """

    threshold: float
    class_name: str
    slices: int
    patients: int
    padded: int
    spread: float
    mean: Interval


@dataclass(frozen=True)
class KSTest:
    """A cell of the paper's Table 5: do slices of class ``first`` have more such RoIs?

    Attributes:
        first, second: the compared classes.
        alternative: the alternative hypothesis as a text.
        statistic: largest difference of the second's distribution function minus the first's, 0..1.
        p: one-sided p-value.
        p_holm: p-value with Holm's correction for all tests of the table.
        significant: ``p`` is below ``ALPHA``, as in the paper; ``None`` without a test.
        significant_holm: ``p_holm`` is below ``ALPHA``; ``None`` without a test.
        reason: why there is no test, so that the numbers are NaN; empty if there is one.
    """

    threshold: float
    first: str
    second: str
    alternative: str
    statistic: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    significant: bool | None = None
    significant_holm: bool | None = None
    reason: str = ""


def count_above(scores: np.ndarray, is_copy: np.ndarray, threshold: float) -> np.ndarray:
    """Number of RoIs with a score above the threshold in each slice, (M,).

    Copies that pad an RoI batch do not count; otherwise a slice with one confident region would
    have N of them.

    Args:
        scores: (M, N), 0..1.
        is_copy: (M, N) bool, rows that repeat the row above.
    """
    return ((np.asarray(scores) > threshold) & ~np.asarray(is_copy, bool)).sum(axis=1)


def balanced_sample(
    labels: np.ndarray, per_class: int = PER_CLASS_SLICES, seed: int = 0
) -> np.ndarray:
    """Draw equally many slices of each class, without replacement.

    The number is ``per_class``, or the size of the smallest class if that is smaller. Classes
    without slices are left out.

    Args:
        labels: (M,) true classes.
        per_class: slices to draw of each class.
        seed: seed of the random generator.

    Returns:
        Indices of the drawn slices, ascending.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    size = min([per_class, *counts.tolist()])
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(np.flatnonzero(labels == c), size, replace=False) for c in classes]
    return np.sort(np.concatenate([np.empty(0, dtype=int), *drawn]))


def describe_counts(
    counts: Mapping[float, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str] | np.ndarray,
    padded: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[CountSummary]:
    """The paper's Table 4, by threshold, then by class.

    Args:
        counts: (M,) for each threshold, from :func:`count_above`.
        labels: (M,) true classes.
        class_names: C names.
        patients: (M,) the patient of each slice.
        padded: (M,) bool, whether the slice's RoI batch is padded with copies.
        resamples, seed: see :func:`~ct_lesion.evaluation.patient_bootstrap.bootstrap_intervals`.
    """
    labels, patients = np.asarray(labels), np.asarray(patients)
    result = []
    for threshold, values in counts.items():
        for index, name in enumerate(class_names):
            of_class = labels == index
            class_counts, class_patients = np.asarray(values)[of_class], patients[of_class]
            intervals = bootstrap_intervals(
                _mean_of(class_counts), class_patients, resamples=resamples, seed=seed
            )
            enough = len(class_counts) > 1
            spread = NORMAL_QUANTILE * class_counts.std(ddof=1) if enough else math.nan
            summary = CountSummary(
                threshold,
                name,
                len(class_counts),
                len(np.unique(class_patients)),
                int(np.asarray(padded)[of_class].sum()),
                float(spread),
                intervals["mean"],
            )
            result.append(summary)
    return result


def paper_pairs(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes in the order of Table 5: each class with each earlier one, last class first.

    For the paper's classes: COVID-19 / Common Pneumonia, COVID-19 / Control, Common Pneumonia /
    Control.
    """
    return [
        (class_names[later], class_names[earlier])
        for later in reversed(range(len(class_names)))
        for earlier in reversed(range(later))
    ]


def alternative_in_words(first: str, second: str) -> str:
    """The alternative hypothesis of ``ks_2samp(first, second, alternative="less")``."""
    return f"{first} slices have more such RoIs than {second} slices"


def ks_tests(
    counts: Mapping[float, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
) -> list[KSTest]:
    """The paper's Table 5: one-sided two-sample Kolmogorov-Smirnov tests of all pairs of classes.

    The tests are SciPy's ``ks_2samp(first, second, alternative="less")``: under the alternative,
    the first's distribution function lies below the second's, i.e. its counts are larger. Constant
    samples, as in the paper, and classes without slices have no test ("N/A").

    Args:
        counts: (M,) for each threshold, from :func:`count_above`.
        labels: (M,) true classes.
        class_names: C names.

    Returns:
        Tests by threshold, then in the order of :func:`paper_pairs`.
    """
    labels = np.asarray(labels)
    made: list[dict] = []
    for threshold, values in counts.items():
        of_class = {n: np.asarray(values)[labels == i] for i, n in enumerate(class_names)}
        for first, second in paper_pairs(class_names):
            test = {"threshold": threshold, "first": first, "second": second}
            samples = of_class[first], of_class[second]
            made.append({**test, **_ks_test(*samples)})
    valid = [test for test in made if not test["reason"]]
    if valid:
        corrected = multipletests([test["p"] for test in valid], method="holm")[1]
        for test, p in zip(valid, corrected, strict=True):
            test.update(p_holm=float(p), significant_holm=bool(p < ALPHA))
    return [KSTest(alternative=alternative_in_words(t["first"], t["second"]), **t) for t in made]


def _ks_test(first: np.ndarray, second: np.ndarray) -> dict:
    if not len(first) or not len(second):
        return {"reason": "N/A: no slices"}
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"reason": "N/A: constant"}
    result = ks_2samp(first, second, alternative="less")
    p = float(result.pvalue)
    return {"statistic": float(result.statistic), "p": p, "significant": p < ALPHA, "reason": ""}


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda indices: {"mean": values[indices].mean() if len(indices) else math.nan}
