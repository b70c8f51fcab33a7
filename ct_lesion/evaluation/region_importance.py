"""Which rows of the RoI batch drove the class of a slice.

Two measures, both in units of logit and both positive where a row speaks for the class, and a check
of either: deleting the rows that it calls important must make the logit fall.

"Deleted" means replaced by a baseline row. The baseline we use is :func:`mean_rows`, the mean row
of that rank: module S reads 5 N numbers at fixed places and has never seen a zero row among real
ones (score 0 in rank 1, a box that is moved by nothing), so zeros would measure how S reacts to
what cannot be, while the mean row says "a region as it usually is at this rank". ``baseline=None``
means zeros, the textbook's gradient times input.

Shapes: B slices, N rows (RoIs) a slice, C classes. A row is [score, dx, dy, dw, dh].
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

STEPS = (0, 1, 2, 4, 8, 16, 32, 64)
BATCH = 4096  # RoI batches in one pass of S: some 10 MB of input and 8 MB a hidden layer


def mean_rows(roi_batch: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """(N, 5): the mean row of each rank over a reference set of slices.

    Args:
        roi_batch: (M, N, 5), M at least 1.
        labels: (M,) true class indices; if given, all classes weigh the same, so that the baseline
            does not look like the most frequent class.

    Raises:
        ValueError: no slices.
    """
    if not len(roi_batch):
        raise ValueError("the mean row of no slices is not defined")
    if labels is None:
        return roi_batch.mean(axis=0)
    return np.mean([roi_batch[labels == c].mean(axis=0) for c in np.unique(labels)], axis=0)


def gradient_times_input(
    classifier: nn.Module,
    roi_batch: np.ndarray,
    target: int | np.ndarray,
    baseline: np.ndarray | None = None,
) -> np.ndarray:
    """Importance (B, N): gradient of the target logit times (row - baseline), summed over a row.

    To first order what :func:`occlusion` measures, at the price of one pass; exactly that for a
    linear classifier.

    Args:
        classifier: module S, (B, N, 5) to logits (B, C).
        roi_batch: (B, N, 5).
        target: class whose logit is explained, one for all or (B,).
        baseline: (N, 5), see the module; ``None`` for zeros.

    Raises:
        ValueError: shapes that do not fit.
    """
    batch, target, baseline = _checked(roi_batch, target, baseline)
    result = np.zeros(batch.shape[:2])
    for part in _parts(len(batch), BATCH):
        with torch.enable_grad():
            rows = _tensor(classifier, batch[part]).requires_grad_()
            logits = classifier(rows).gather(1, _index(rows, target[part]))
            # each slice's logit depends on its own rows alone, so one backward pass serves all
            (gradient,) = torch.autograd.grad(logits.sum(), rows)
        result[part] = (gradient.cpu().numpy() * (batch[part] - baseline)).sum(axis=2)
    return result


def occlusion(
    classifier: nn.Module,
    roi_batch: np.ndarray,
    target: int | np.ndarray,
    baseline: np.ndarray | None = None,
) -> np.ndarray:
    """Importance (B, N): by how much the target logit falls when one row becomes the baseline row.

    N + 1 passes of S a slice, in batches of bounded memory. For the arguments and errors see
    :func:`gradient_times_input`.
    """
    batch, target, baseline = _checked(roi_batch, target, baseline)
    number, rows = batch.shape[:2]
    whole = _target_logits(classifier, batch, target)
    result = np.zeros((number, rows))
    diagonal = np.arange(rows)
    for part in _parts(number, max(BATCH // rows, 1)):
        # (b, N, N, 5): copy i of a slice lacks row i
        without = np.repeat(batch[part][:, None], rows, axis=1)
        without[:, diagonal, diagonal] = baseline
        logits = _target_logits(
            classifier, without.reshape(-1, rows, batch.shape[2]), np.repeat(target[part], rows)
        )
        result[part] = whole[part, None] - logits.reshape(-1, rows)
    return result


def merge_copies(importance: np.ndarray, is_copy: np.ndarray) -> np.ndarray:
    """(B, N): importance a region: copies are added to the row they repeat, and are NaN themselves.

    A slice whose rows are all copies (no region was kept) is NaN throughout.

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
    """Mean target logit after rows were replaced by the baseline; all (K,).

    Attributes:
        steps: how many rows were replaced.
        most: the most important ones first.
        random: any ones, the mean of several draws.
        least: the least important ones first, which are those that speak against the class.
    """

    steps: np.ndarray
    most: np.ndarray
    random: np.ndarray
    least: np.ndarray


def deletion_curve(
    classifier: nn.Module,
    roi_batch: np.ndarray,
    importance: np.ndarray,
    target: int | np.ndarray,
    baseline: np.ndarray | None = None,
    steps: Sequence[int] = STEPS,
    *,
    seed: int = 0,
    draws: int = 5,
) -> DeletionCurves:
    """The check of a measure of importance: if it is right, ``most`` falls faster than ``random``.

    Args:
        classifier, roi_batch, target, baseline: as :func:`gradient_times_input`.
        importance: (B, N), one value a row; of equal ones the upper row comes first.
        steps: numbers of rows; those above N are left out.
        seed: of the random rows.
        draws: how many random orders are averaged.

    Raises:
        ValueError: shapes that do not fit, no slices, or importance that is not finite.
    """
    batch, target, baseline = _checked(roi_batch, target, baseline)
    if importance.shape != batch.shape[:2] or not np.isfinite(importance).all():
        raise ValueError(
            f"importance {importance.shape} must be finite and have a value for each row of RoI "
            f"batches {batch.shape}"
        )
    if not len(batch):
        raise ValueError("the mean logit of no slices is not defined")
    steps = np.array([k for k in steps if k <= batch.shape[1]], dtype=int)
    generator = np.random.default_rng(seed)
    orders = {
        "most": [np.argsort(-importance, axis=1, kind="stable")],
        "random": [generator.random(importance.shape).argsort(axis=1) for _ in range(draws)],
        "least": [np.argsort(importance, axis=1, kind="stable")],
    }

    def mean_logit(order: np.ndarray, count: int) -> float:
        rows = batch.copy()
        slices, deleted = np.arange(len(batch))[:, None], order[:, :count]
        rows[slices, deleted] = baseline[deleted]
        return float(_target_logits(classifier, rows, target).mean())

    return DeletionCurves(
        steps,
        **{
            name: np.array([np.mean([mean_logit(o, k) for o in several]) for k in steps])
            for name, several in orders.items()
        },
    )


def _checked(
    roi_batch: np.ndarray, target: int | np.ndarray, baseline: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """RoI batches (B, N, 5), targets (B,) and baseline (N, 5)."""
    roi_batch = np.asarray(roi_batch, dtype=np.float32)
    if roi_batch.ndim != 3:
        raise ValueError(f"RoI batches have shape {roi_batch.shape}, expected (B, N, 5)")
    target = np.asarray(target, dtype=int)
    if target.shape not in ((), (len(roi_batch),)):
        raise ValueError(f"{target.shape} targets do not fit {len(roi_batch)} slices")
    baseline = np.zeros(roi_batch.shape[1:]) if baseline is None else np.asarray(baseline)
    if baseline.shape != roi_batch.shape[1:]:
        raise ValueError(f"a baseline {baseline.shape} does not fit RoI batches {roi_batch.shape}")
    return roi_batch, np.broadcast_to(target, len(roi_batch)), baseline.astype(np.float32)


def _parts(number: int, size: int) -> Iterator[slice]:
    for start in range(0, number, size):
        yield slice(start, start + size)


def _tensor(classifier: nn.Module, rows: np.ndarray) -> torch.Tensor:
    """Rows where the classifier is."""
    like = next(classifier.parameters(), torch.zeros(()))
    return torch.from_numpy(rows).to(like)


def _index(rows: torch.Tensor, target: np.ndarray) -> torch.Tensor:
    return torch.tensor(target, device=rows.device)[:, None]


@torch.no_grad()
def _target_logits(classifier: nn.Module, batch: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(B,): each slice's logit of its target class, as float64."""
    result = np.zeros(len(batch))
    for part in _parts(len(batch), BATCH):
        rows = _tensor(classifier, batch[part])
        logits = classifier(rows).gather(1, _index(rows, target[part]))
        result[part] = logits[:, 0].double().cpu().numpy()
    return result
