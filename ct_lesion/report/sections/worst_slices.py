"""The slices with the worst predictions.

Shapes: M slices, C classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.special import logsumexp

from ct_lesion.errors import DatasetError
from ct_lesion.pages.tables import Table
from ct_lesion.pictures import read_8_bit


def classification_losses(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Cross-entropy per slice, (M,): large for confident wrong predictions."""
    return logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]


def worst_classified(labels: np.ndarray, logits: np.ndarray, count: int) -> np.ndarray:
    """Indices of the ``count`` misclassified slices of largest loss, the worst first."""
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    losses = classification_losses(labels, logits)[wrong]
    return wrong[np.argsort(-losses, kind="stable")][:count]


def worst_classified_table(
    name: str,
    title: str,
    indices: Sequence[int],
    *,
    files: np.ndarray,
    patients: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
) -> Table:
    """File, patient, true and predicted class, and logits of the slices at ``indices``.

    All arrays are (M, ...).
    """
    rows = [
        [
            Path(files[i]).name,
            str(patients[i]),
            class_names[labels[i]],
            class_names[logits[i].argmax()],
            *map(float, logits[i]),
        ]
        for i in indices
    ]
    logit_columns = [f"logit {c}" for c in class_names]
    return Table(
        name,
        title,
        ["file", "patient", "true class", "predicted class", *logit_columns],
        rows,
        dict.fromkeys(logit_columns, ".2f"),
    )


def worst_dice(dice_by_image: Mapping[int, float], count: int) -> list[int]:
    """Ids of the ``count`` images with the lowest Dice, the worst first; NaN is left out."""
    known = [(value, i) for i, value in dice_by_image.items() if not np.isnan(value)]
    return [i for _, i in sorted(known)[:count]]


def classified_slices_figure(images: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Slices with their titles, four in a row.

    Args:
        images: (H, W) uint8 each.
        titles: one above each slice, e.g. its true and predicted class.
    """
    rows = max(-(-len(images) // 4), 1)
    figure = Figure(figsize=(10.4, 2.95 * rows), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=8)
    return figure


def read_grey(path: str | Path) -> np.ndarray | None:
    """A slice as (H, W) uint8; ``None`` if its file is missing or unreadable."""
    try:
        return np.asarray(read_8_bit(path).convert("L"))
    except DatasetError:
        return None
