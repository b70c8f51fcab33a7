"""Overlap of detections and lesions: Dice of slices and patients, and FROC curves.

Shapes: K score thresholds, decreasing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from .mask_ap import patients_of
from .segmentation_metrics import FOUND_IOU, above_score, match_images

FROC_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false detections per slice


@dataclass(frozen=True)
class DiceScores:
    """Dice, 0..1; NaN if there are neither lesions nor detections.

    Attributes:
        by_image: Dice of each image, by image id.
        by_patient: Dice of all pixels of each patient's slices, by patient.
    """

    by_image: Mapping[int, float]
    by_patient: Mapping[str, float]


@dataclass(frozen=True)
class FrocCurve:
    """Free-response ROC; each point counts the detections that reach its threshold.

    Attributes:
        thresholds: (K,) scores, decreasing.
        sensitivity: (K,) fraction of the lesions that are found; NaN without lesions.
        false_per_slice: (K,) false detections per slice.
        lesions, slices: number of lesions and slices.
    """

    thresholds: np.ndarray
    sensitivity: np.ndarray
    false_per_slice: np.ndarray
    lesions: int
    slices: int


def dice_scores(truth: COCO, detections: Iterable[dict], score_threshold: float) -> DiceScores:
    """Dice of the union of the detections with the union of the lesions, regardless of class.

    Args:
        truth: ground truth, with the patients of its images.
        detections: COCO results with ``segmentation``.
        score_threshold: only detections with a score above it count.
    """
    masks = defaultdict(list)
    for detection in above_score(detections, score_threshold):
        masks[detection["image_id"]].append(detection["segmentation"])
    pixels = {
        image_id: _overlap([truth.annToRLE(a) for a in truth.imgToAnns[image_id]], masks[image_id])
        for image_id in sorted(truth.getImgIds())
    }
    of_patient: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
    for patient, counts in zip(patients_of(truth).tolist(), pixels.values(), strict=True):
        of_patient[patient] += counts
    return DiceScores(
        {image_id: _dice(counts) for image_id, counts in pixels.items()},
        {patient: _dice(counts) for patient, counts in sorted(of_patient.items())},
    )


def _overlap(lesions: list[dict], detections: list[dict]) -> np.ndarray:
    """Pixels of the intersection of the unions, and the sum of the unions' pixels; (2,)."""
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


def lesion_froc(truth: COCO, detections: Iterable[dict], iou: float = FOUND_IOU) -> FrocCurve:
    """Sensitivity and false detections per slice at every score.

    A lesion is found if its IoU with a detection of its class is above ``iou``; a detection is
    false if its IoU is not above ``iou`` with any lesion of its class. Slices without lesions count
    too.

    Args:
        truth: ground truth.
        detections: COCO results with ``segmentation``.
        iou: threshold of the mask IoU, 0..1.
    """
    matches = match_images(truth, detections).values()
    of_lesions, of_false, of_all = [np.empty(0)], [np.empty(0)], [np.empty(0)]
    for match in matches:
        hits = match.ious > iou  # (detections, lesions)
        # a lesion is found at thresholds up to its best hit's score
        best = np.where(hits, match.scores[:, None], -np.inf).max(axis=0, initial=-np.inf)
        of_lesions.append(best)
        of_false.append(match.scores[~hits.any(axis=1)])
        of_all.append(match.scores)
    lesions, false = np.concatenate(of_lesions), np.concatenate(of_false)
    thresholds = np.unique(np.concatenate(of_all))[::-1]
    found = _at_least(lesions, thresholds)
    return FrocCurve(
        thresholds,
        found / len(lesions) if len(lesions) else np.full(len(thresholds), np.nan),
        _at_least(false, thresholds) / max(len(matches), 1),
        len(lesions),
        len(matches),
    )


def _at_least(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Number of scores that reach each threshold, (K,)."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")


def sensitivity_at_rates(curve: FrocCurve) -> list[float]:
    """The highest sensitivity at each of ``FROC_RATES`` false detections per slice, or fewer.

    The values are NaN without lesions.
    """
    if not curve.lesions:
        return [float("nan")] * len(FROC_RATES)
    return [
        float(curve.sensitivity[curve.false_per_slice <= rate].max(initial=0.0))
        for rate in FROC_RATES
    ]
