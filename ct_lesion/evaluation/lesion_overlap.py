"""Dice overlap of all that is detected with all that is lesion, a slice and a patient."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from .segmentation_metrics import above_score


@dataclass(frozen=True)
class DiceScores:
    """Dice, 0..1; NaN where there is neither a lesion nor a detection.

    Attributes:
        by_image: by image id.
        by_patient: pooled over the pixels of a patient's slices.
    """

    by_image: Mapping[int, float]
    by_patient: Mapping[str, float]


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
