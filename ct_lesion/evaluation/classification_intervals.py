"""Confidence intervals of classification metrics, by bootstrap over patients.

Shapes: M slices, C classes. ``labels`` are (M,) class indices, ``logits`` (M, C), ``patients``
(M,). All values are fractions in 0..1, NaN where undefined.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .classification_metrics import PER_CLASS, classification_metrics, rates_from_confusion
from .patient_bootstrap import RESAMPLES, Interval, Statistic, bootstrap_intervals


def auc_of_ranks(positive: np.ndarray, ranks: np.ndarray, num_ranks: int) -> float:
    """Area under the ROC curve from ranks of scores; NaN without positives or negatives.

    It is the fraction of (positive, negative) pairs in which the positive has the higher rank; ties
    count as half (the Mann-Whitney U statistic). With ranks, a bootstrap sorts the scores only
    once.

    Args:
        positive: (K,) bool.
        ranks: (K,) int in 0..num_ranks - 1, equal for equal scores.
        num_ranks: number of possible ranks.
    """
    positives = np.bincount(ranks[positive], minlength=num_ranks)
    negatives = np.bincount(ranks[~positive], minlength=num_ranks)
    pairs = int(positives.sum()) * int(negatives.sum())
    negatives_below = np.cumsum(negatives) - negatives / 2
    return float(positives @ negatives_below / pairs) if pairs else np.nan


def classification_statistic(
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    metrics: Sequence[str] = PER_CLASS,
) -> Statistic:
    """A statistic for the bootstrap, with the names of ``ClassificationMetrics.as_dict``.

    A call takes about a millisecond for 20,000 slices.

    Args:
        labels: (M,) true class indices.
        logits: (M, C).
        class_names: C names.
        metrics: which of ``PER_CLASS`` to compute; the accuracy is always computed.

    Raises:
        ValueError: see :func:`classification_metrics`; or a metric is unknown.
    """
    if not set(metrics) <= set(PER_CLASS):
        raise ValueError(f"expected metrics among {list(PER_CLASS)}, got {list(metrics)}")
    classification_metrics(labels, logits, class_names)  # checks the shapes and values
    count = len(class_names)
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits).reshape(-1, count)
    cells = labels * count + logits.argmax(axis=1)
    ranks = [np.unique(scores, return_inverse=True)[1] for scores in logits.T]

    def areas(indices: np.ndarray) -> list[float]:
        drawn = labels[indices]
        return [auc_of_ranks(drawn == c, ranks[c][indices], len(labels)) for c in range(count)]

    def statistic(indices: np.ndarray) -> dict[str, float]:
        confusion = np.bincount(cells[indices], minlength=count**2).reshape(count, count)
        values = rates_from_confusion(confusion)
        if "AUC" in metrics:
            values["AUC"] = areas(indices)
        named = {
            f"{metric}/{name}": float(value)
            for metric in metrics
            for name, value in zip(class_names, values[metric], strict=True)
        }
        accuracy = np.trace(confusion) / len(indices) if len(indices) else np.nan
        return {"accuracy": float(accuracy), **named}

    return statistic


def classification_intervals(
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str] | np.ndarray,
    *,
    metrics: Sequence[str] = PER_CLASS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval]:
    """Intervals of the metrics of ``ClassificationMetrics.as_dict``, with the same names.

    Rows may be slices, scans or patients; see :func:`ct_lesion.evaluation.aggregation.aggregate`.

    Args:
        labels, logits, class_names, metrics: see :func:`classification_statistic`.
        patients: (M,) the patient of each slice.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: see :func:`classification_statistic`; or the number of patients differs from the
            number of labels.
    """
    if len(patients) != len(labels):
        raise ValueError(f"got {len(patients)} patients for {len(labels)} labels")
    statistic = classification_statistic(labels, logits, class_names, metrics)
    return bootstrap_intervals(statistic, patients, resamples=resamples, seed=seed)
