"""The number of regions (RoIs) in a slice above a score, by class: the paper's section 3.2.

Figure 4, Table 4 (mean of the counts) and Table 5 (Kolmogorov-Smirnov tests on the counts).
Shapes: M slices with N RoIs each, C classes. Counts are given as ``{threshold: (M,) counts}``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp
from statsmodels.stats.multitest import multipletests

from .patient_bootstrap import CONFIDENCE, RESAMPLES, Interval, Statistic, bootstrap_intervals

THRESHOLDS = (0.2, 0.5, 0.9)
PER_CLASS_SLICES = 475
ALPHA = 0.01
NORMAL_QUANTILE = 1.96
KS_NOTE = (
    "The tests take slices as independent, which those of a patient are not, so their p-values are "
    "too small; many equal counts make them larger again than those of continuous values."
)


@dataclass(frozen=True)
class CountSummary:
    """A cell of the paper's Table 4.

    Attributes:
        slices, patients: how many.
        spread: 1.96 standard deviations of the counts (divisor n - 1), which the paper's "±"
            appears to be; NaN for fewer than 2 slices. It says how slices vary, not how well the
            mean is known.
        mean: of the counts, with its bootstrap interval over patients.
    """

    threshold: float
    class_name: str
    slices: int
    patients: int
    spread: float
    mean: Interval


@dataclass(frozen=True)
class KSTest:
    """A cell of the paper's Table 5: do slices of class ``first`` have more such RoIs?

    Attributes:
        first, second: classes that are compared.
        alternative: in words.
        statistic: largest height of the second's distribution function above the first's, 0..1.
        p: one-sided.
        p_holm: corrected for all tests that were made, by Holm.
        significant: ``p`` is below alpha, as the paper has it; ``None`` without a test.
        significant_holm: ``p_holm`` is below alpha; ``None`` without a test.
        reason: why there is no test, and its numbers are NaN; empty if there is one.
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


def count_above(scores: np.ndarray, threshold: float) -> np.ndarray:
    """Rows of each slice with a score above the threshold, (M,); copies count, as published.

    Args:
        scores: (M, N).
    """
    return (np.asarray(scores) > threshold).sum(axis=1)


def balanced_sample(
    labels: np.ndarray, per_class: int = PER_CLASS_SLICES, seed: int = 0
) -> np.ndarray:
    """Indices of slices drawn without replacement, the same number of each class, ascending.

    The number is ``per_class``, or the size of the smallest class if that is less: then the sample
    stays balanced and is smaller. A class without any slice is left out. The number drawn is
    ``len(indices)`` divided by the number of classes there are.

    Args:
        labels: (M,) true classes.
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
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[CountSummary]:
    """The paper's Table 4: by threshold, then by class; a class without slices has NaN.

    Args:
        counts: (M,) at each threshold, by :func:`count_above`.
        labels: (M,) true classes.
        patients: (M,).
    """
    labels, patients = np.asarray(labels), np.asarray(patients)
    result = []
    for threshold, values in counts.items():
        for index, name in enumerate(class_names):
            own = np.asarray(values)[labels == index]
            owners = patients[labels == index]
            intervals = bootstrap_intervals(
                _mean_of(own), owners, resamples=resamples, confidence=confidence, seed=seed
            )
            spread = NORMAL_QUANTILE * own.std(ddof=1) if len(own) > 1 else math.nan
            people = len(np.unique(owners))
            summary = CountSummary(
                threshold, name, len(own), people, float(spread), intervals["mean"]
            )
            result.append(summary)
    return result


def paper_pairs(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Each class against each earlier one, the last class first: the order of Table 5.

    COVID-19 / Common Pneumonia, COVID-19 / Control, Common Pneumonia / Control.
    """
    return [
        (class_names[later], class_names[earlier])
        for later in reversed(range(len(class_names)))
        for earlier in reversed(range(later))
    ]


def alternative_in_words(first: str, second: str) -> str:
    """The alternative of ``ks_2samp(first, second, alternative="less")``."""
    return f"{first} slices have more such RoIs than {second} slices"


def ks_tests(
    counts: Mapping[float, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    alpha: float = ALPHA,
) -> list[KSTest]:
    """The paper's Table 5: one-sided two-sample Kolmogorov-Smirnov tests of all pairs of classes.

    SciPy's ``ks_2samp(first, second, alternative="less")``: the alternative is that the first's
    distribution function lies below the second's, that is, that its counts are larger. There is no
    test ("N/A") where a sample is constant, as in the paper, or where a class has no slice.

    Args:
        counts: (M,) at each threshold, by :func:`count_above`.
        labels: (M,) true classes.

    Returns:
        By threshold, then in the order of :func:`paper_pairs`.
    """
    labels = np.asarray(labels)
    made: list[dict] = []
    for threshold, values in counts.items():
        of_class = {n: np.asarray(values)[labels == i] for i, n in enumerate(class_names)}
        for first, second in paper_pairs(class_names):
            test = {"threshold": threshold, "first": first, "second": second}
            samples = of_class[first], of_class[second]
            made.append({**test, **_ks_test(*samples, alpha)})
    valid = [test for test in made if not test["reason"]]
    if valid:
        corrected = multipletests([test["p"] for test in valid], method="holm")[1]
        for test, p in zip(valid, corrected, strict=True):
            test.update(p_holm=float(p), significant_holm=bool(p < alpha))
    return [KSTest(alternative=alternative_in_words(t["first"], t["second"]), **t) for t in made]


def _ks_test(first: np.ndarray, second: np.ndarray, alpha: float) -> dict:
    if not len(first) or not len(second):
        return {"reason": "N/A: no slices"}
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"reason": "N/A: constant"}
    found = ks_2samp(first, second, alternative="less")
    p = float(found.pvalue)
    return {"statistic": float(found.statistic), "p": p, "significant": p < alpha, "reason": ""}


def _mean_of(values: np.ndarray) -> Statistic:
    return lambda indices: {"mean": values[indices].mean() if len(indices) else math.nan}
