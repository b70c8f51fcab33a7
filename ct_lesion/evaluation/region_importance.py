"""Importance of each row of the RoI batch for the class of a slice.

Importance is measured by occlusion: the decrease of a class's logit when a row is replaced by a
baseline row. A deletion test checks it: deleting the most important rows must lower the logit
faster than deleting random rows.

The baseline is :func:`mean_rows`, the mean row of each rank, i.e. a typical region. Zeros would
measure the reaction of S to impossible input: S reads 5 N numbers at fixed positions, and in
training no real region has score 0 in rank 1 or a box without offset.

Shapes: B slices, N rows (RoIs) per slice, C classes. A row is [score, dx, dy, dw, dh]. Importance
is in units of the logit, positive where a row supports the class.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
RANDOM_ORDERS = 5
BATCH = 4096  # RoI batches in a forward pass of S: about 10 MB of input, 8 MB per hidden layer


def mean_rows(roi_batch: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The mean row of each rank over a reference set of slices, (N, 5).

    All classes have the same weight, so the baseline does not resemble the most frequent class.

    Args:
        roi_batch: (M, N, 5), M > 0.
        labels: (M,) true class indices.

    Raises:
        ValueError: there are no slices.
    """
    if not len(roi_batch):
        raise ValueError("the mean row needs one or more slices")
    return np.mean([roi_batch[labels == c].mean(axis=0) for c in np.unique(labels)], axis=0)


def occlusion(
    classifier: nn.Module, roi_batch: np.ndarray, target: int, baseline: np.ndarray
) -> np.ndarray:
    """Importance of each row, (B, N): the decrease of the target logit without the row.

    It takes N + 1 forward passes of S per slice, in batches of bounded memory.

    Args:
        classifier: module S, (B, N, 5) to logits (B, C).
        roi_batch: (B, N, 5).
        target: index of the class whose logit is explained.
        baseline: (N, 5), replaces the deleted rows.

    Raises:
        ValueError: the shapes do not match.
    """
    batch, baseline = _checked(roi_batch, baseline)
    number, rows = batch.shape[:2]
    whole = _target_logits(classifier, batch, target)
    result = np.zeros((number, rows))
    diagonal = np.arange(rows)
    for part in _parts(number, max(BATCH // rows, 1)):
        # (b, N, N, 5): copy i of a slice lacks row i
        without = np.repeat(batch[part][:, None], rows, axis=1)
        without[:, diagonal, diagonal] = baseline
        logits = _target_logits(classifier, without.reshape(-1, rows, batch.shape[2]), target)
        result[part] = whole[part, None] - logits.reshape(-1, rows)
    return result


def merge_copies(importance: np.ndarray, is_copy: np.ndarray) -> np.ndarray:
    """Importance per region, (B, N): copies are added to the row that they repeat, and set to NaN.

    All values of a slice are NaN if all its rows are copies, i.e. it has no region.

    Args:
        importance: (B, N).
        is_copy: (B, N) bool, rows that repeat the row above.
    """
    is_copy = np.asarray(is_copy, dtype=bool)
    merged = np.full(importance.shape, np.nan)
    for row, values, copies in zip(merged, importance, is_copy, strict=True):
        first = np.flatnonzero(~copies)
        if len(first):
            row[first] = np.add.reduceat(values, first)
    return merged


@dataclass(frozen=True)
class DeletionCurves:
    """Mean target logit after rows were replaced by the baseline; all arrays are (K,).

    Attributes:
        steps: number of replaced rows.
        most: curve of deletion in decreasing order of importance.
        random: mean curve of deletion in several random orders.
        least: curve of deletion in increasing order of importance, rows against the class first.
    """

    steps: np.ndarray
    most: np.ndarray
    random: np.ndarray
    least: np.ndarray


def deletion_curve(
    classifier: nn.Module,
    roi_batch: np.ndarray,
    importance: np.ndarray,
    target: int,
    baseline: np.ndarray,
    *,
    seed: int = 0,
) -> DeletionCurves:
    """Deletion test of an importance: if it is valid, ``most`` falls faster than ``random``.

    The numbers of deleted rows are those of ``STEPS`` up to N; the random curve is the mean over
    ``RANDOM_ORDERS`` orders.

    Args:
        classifier, roi_batch, target, baseline: see :func:`occlusion`.
        importance: (B, N), finite; rows of equal importance keep their order.
        seed: seed of the random orders.

    Raises:
        ValueError: the shapes do not match, there are no slices, or importance is not finite.
    """
    batch, baseline = _checked(roi_batch, baseline)
    if importance.shape != batch.shape[:2] or not np.isfinite(importance).all():
        raise ValueError(
            f"expected finite importance of shape {batch.shape[:2]}, a value for each row of the "
            f"RoI batches, got shape {importance.shape}"
        )
    if not len(batch):
        raise ValueError("the mean logit needs one or more slices")
    steps = np.array([k for k in STEPS if k <= batch.shape[1]], dtype=int)
    generator = np.random.default_rng(seed)
    orders = {
        "most": [np.argsort(-importance, axis=1, kind="stable")],
        "random": [
            generator.random(importance.shape).argsort(axis=1) for _ in range(RANDOM_ORDERS)
        ],
        "least": [np.argsort(importance, axis=1, kind="stable")],
    }

    def mean_logit(order: np.ndarray, count: int) -> float:
        rows = batch.copy()
        slices, deleted = np.arange(len(batch))[:, None], order[:, :count]
        rows[slices, deleted] = baseline[deleted]
        return float(_target_logits(classifier, rows, target).mean())

    curves = {
        name: np.array([np.mean([mean_logit(order, k) for order in some]) for k in steps])
        for name, some in orders.items()
    }
    return DeletionCurves(steps, **curves)


def _checked(roi_batch: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RoI batches (B, N, 5) and baseline (N, 5) as float32."""
    roi_batch, baseline = np.asarray(roi_batch, np.float32), np.asarray(baseline, np.float32)
    if roi_batch.ndim != 3:
        raise ValueError(f"RoI batches have shape {roi_batch.shape}, expected (B, N, 5)")
    if baseline.shape != roi_batch.shape[1:]:
        raise ValueError(
            f"a baseline of shape {baseline.shape} does not match RoI batches {roi_batch.shape}"
        )
    return roi_batch, baseline


def _parts(number: int, size: int) -> Iterator[slice]:
    for start in range(0, number, size):
        yield slice(start, start + size)


@torch.no_grad()
def _target_logits(classifier: nn.Module, batch: np.ndarray, target: int) -> np.ndarray:
    """Each slice's logit of the target class, (B,) float64."""
    like = next(classifier.parameters())
    result = np.zeros(len(batch))
    for part in _parts(len(batch), BATCH):
        logits = classifier(torch.from_numpy(batch[part]).to(like))[:, target]
        result[part] = logits.double().cpu().numpy()
    return result
