"""Dice overlap of all that is detected with all that is lesion, a slice and a patient."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from .segmentation_metrics import above_score, match_images

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True)
class DiceScores:
    """Dice, 0..1; NaN where there is neither a lesion nor a detection.

    Attributes:
        by_image: by image id.
        by_patient: pooled over the pixels of a patient's slices.
    """

    by_image: Mapping[int, float]
    by_patient: Mapping[str, float]


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


def dice_scores(truth: COCO, detections: Iterable[dict], score_threshold: float) -> DiceScores:
    """Dice of the union of the detections above a score with the union of the lesions.

    Classes are not told apart: what counts is lesion or not.
    """
    found = defaultdict(list)
    for detection in above_score(detections, score_threshold):
        found[detection["image_id"]].append(detection["segmentation"])
    pixels = {
        image_id: _overlap([truth.annToRLE(a) for a in truth.imgToAnns[image_id]], found[image_id])
        for image_id in sorted(truth.getImgIds())
    }
    of_patient: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for image_id, counts in pixels.items():
        of_patient[str(truth.imgs[image_id].get("patient", f"image {image_id}"))] += counts
    return DiceScores(
        {image_id: _dice(counts) for image_id, counts in pixels.items()},
        {patient: _dice(counts) for patient, counts in sorted(of_patient.items())},
    )


def _overlap(lesions: list[dict], detections: list[dict]) -> np.ndarray:
    """Pixels in both, and the sum of the pixels in each."""
    if not lesions and not detections:
        return np.zeros(2)
    unions = [coco_mask.merge(masks) for masks in (lesions, detections) if masks]
    total = float(sum(coco_mask.area(union) for union in unions))
    if len(unions) < 2:
        return np.array([0.0, total])
    return np.array([float(coco_mask.area(coco_mask.merge(unions, intersect=True))), total])


def _dice(counts: np.ndarray) -> float:
    both, total = counts
    return float(2 * both / total) if total else float("nan")


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


def sensitivity_at(curve: FrocCurve, rates: Sequence[float] = FROC_RATES) -> list[float]:
    """The highest sensitivity at or below each rate of false detections; NaN without lesions."""
    if not curve.lesions:
        return [float("nan")] * len(rates)
    return [
        float(curve.sensitivity[curve.false_per_slice <= rate].max(initial=0.0)) for rate in rates
    ]
