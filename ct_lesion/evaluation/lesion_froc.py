"""Free-response ROC: sensitivity a lesion against false detections a slice.

Shapes: K score thresholds, falling.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from .segmentation_metrics import match_images

RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class FrocCurve:
    """Every point of the curve: detections from a score up count.

    Attributes:
        thresholds: (K,) scores, falling.
        sensitivity: (K,) fraction of the lesions found; NaN without lesions.
        false_per_slice: (K,) detections that are no lesion, divided by the number of slices.
        lesions, slices: how many.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_per_slice: np.ndarray
    lesions: int
    slices: int


def lesion_froc(truth: COCO, detections: Iterable[dict], iou: float = 0.5) -> FrocCurve:
    """Sensitivity and false detections at every score.

    A lesion is found when a detection of its class overlaps it with more than the IoU; a detection
    is false when it overlaps no lesion so. Slices without lesions count in the denominator.
    """
    matches = match_images(truth, detections).values()
    found, false = [], []
    for match in matches:
        hits = match.ious > iou  # (detections, lesions)
        best = np.where(hits, match.scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
        found.append(best)
        false.append(match.scores[~hits.any(axis=1)])
    best = np.concatenate([*found, np.empty(0)])
    wrong = np.concatenate([*false, np.empty(0)])
    scores = np.concatenate([match.scores for match in matches] or [np.empty(0)])
    thresholds = np.unique(scores)[::-1]
    above = (best[None] >= thresholds[:, None]).sum(axis=1)
    return FrocCurve(
        thresholds,
        above / len(best) if len(best) else np.full(len(thresholds), np.nan),
        (wrong[None] >= thresholds[:, None]).sum(axis=1) / max(len(matches), 1),
        len(best),
        len(matches),
    )


def sensitivity_at(curve: FrocCurve, rates: Sequence[float] = RATES) -> list[float]:
    """The highest sensitivity at or below each rate of false detections; NaN without lesions."""
    if not curve.lesions:
        return [float("nan")] * len(rates)
    return [
        float(curve.sensitivity[curve.false_per_slice <= rate].max(initial=0.0)) for rate in rates
    ]
