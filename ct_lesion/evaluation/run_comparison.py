"""Comparison of two classification runs on the same slices. Shapes: M slices, C classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar

from ct_lesion.errors import UserError

from .patient_bootstrap import RESAMPLES, Interval, Statistic, paired_difference

MCNEMAR_NOTE = (
    "McNemar's exact test treats slices as independent. A patient's slices are not, so its p is "
    "too small; the interval of the difference, a bootstrap over patients, is not affected."
)


class SliceMismatch(UserError):
    """The runs were evaluated on different slices and cannot be compared."""


@dataclass(frozen=True)
class RunComparison:
    """Runs A and B on the same slices.

    Attributes:
        both, only_a, only_b, neither: number of slices predicted correctly by both runs, by A only,
            by B only and by neither.
        mcnemar_p: p-value of McNemar's exact two-sided test; 1 if the runs are correct on the same
            slices. See ``MCNEMAR_NOTE``.
        accuracy_a, accuracy_b: fractions in 0..1.
        difference: accuracy of A minus that of B, with its bootstrap interval over patients.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    mcnemar_p: float
    accuracy_a: float
    accuracy_b: float
    difference: Interval


def check_same_slices(
    files_a: Sequence[str] | np.ndarray,
    files_b: Sequence[str] | np.ndarray,
    name_a: str,
    name_b: str,
) -> np.ndarray:
    """Check that two runs have the same slices, in any order.

    Args:
        files_a, files_b: (M,) file names of the slices.
        name_a, name_b: names of the runs, for the message.

    Returns:
        (M,) indices that sort B like A: ``files_b[order]`` equals ``files_a``.

    Raises:
        SliceMismatch: states the number of differing slices and an example.
    """
    first, second = (np.asarray(f).tolist() for f in (files_a, files_b))
    for files, name in ((first, name_a), (second, name_b)):
        repeated = [file for file, count in Counter(files).items() if count > 1]
        if repeated:
            raise SliceMismatch(
                f"{name} has repeated slices, e.g. {repeated[0]}. Evaluate it on distinct slices."
            )
    missing = [
        f"{len(extra)} {'is' if len(extra) == 1 else 'are'} only in {name}, e.g. {min(extra)}"
        for extra, name in ((set(first) - set(second), name_a), (set(second) - set(first), name_b))
        if extra
    ]
    if missing:
        raise SliceMismatch(
            f"{name_a} and {name_b} were not evaluated on the same slices: {'; '.join(missing)}. "
            "Evaluate both on the same dataset."
        )
    place = {file: index for index, file in enumerate(second)}
    return np.array([place[file] for file in first], dtype=int)


def compare_runs(
    labels: np.ndarray,
    logits_a: np.ndarray,
    logits_b: np.ndarray,
    patients: Sequence[str] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RunComparison:
    """McNemar's exact test, and a paired bootstrap over patients of the accuracy difference.

    Args:
        labels: (M,) true classes, M > 0.
        logits_a, logits_b: (M, C) of the same slices in the same order; see
            :func:`check_same_slices`.
        patients: (M,) the patient of each slice.
        resamples, seed: see :func:`~ct_lesion.evaluation.patient_bootstrap.bootstrap_intervals`.

    Raises:
        ValueError: there are no slices, or the arrays have different lengths.
    """
    labels = np.asarray(labels)
    lengths = {len(labels), len(logits_a), len(logits_b), len(patients)}
    if len(lengths) > 1 or lengths == {0}:
        raise ValueError(f"expected arrays of the same length > 0, got lengths {sorted(lengths)}")
    right_a, right_b = (np.argmax(logits, axis=1) == labels for logits in (logits_a, logits_b))
    both, only_a = int((right_a & right_b).sum()), int((right_a & ~right_b).sum())
    only_b, neither = int((~right_a & right_b).sum()), int((~right_a & ~right_b).sum())
    difference = paired_difference(
        _accuracy(right_a),
        _accuracy(right_b),
        patients,
        resamples=resamples,
        seed=seed,
    )
    return RunComparison(
        both=both,
        only_a=only_a,
        only_b=only_b,
        neither=neither,
        mcnemar_p=float(mcnemar([[both, only_a], [only_b, neither]], exact=True).pvalue),
        accuracy_a=float(right_a.mean()),
        accuracy_b=float(right_b.mean()),
        difference=difference["accuracy"],
    )


def _accuracy(right: np.ndarray) -> Statistic:
    return lambda indices: {"accuracy": right[indices].mean()}
