"""Segmentation metrics from a COCO ground truth and a list of detections, as COCO json has them.

All values are in [0, 1], NaN where they do not exist.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from .mask_ap import MaskAP
from .release_ap import ImageMatches, mean_image_ap


def coco_ap(
    truth: COCO,
    detections: Sequence[dict],
    iou_type: str = "segm",
    image_ids: Iterable[int] | None = None,
    max_detections: int = 128,
) -> dict[str, float]:
    """COCO AP, AP50 and AP75 over all classes, by pycocotools.

    Args:
        truth: ground truth.
        detections: COCO results (``image_id``, ``category_id``, ``score``, ``segmentation``,
            ``bbox``).
        iou_type: "segm" or "bbox".
        image_ids: evaluate these images only.
        max_detections: the best-scored detections of an image that count.

    Returns:
        ``AP``, ``AP50``, ``AP75``; 0 without detections, NaN without ground truth.
    """
    return MaskAP(truth, detections, iou_type, image_ids, max_detections).of()


def above_score(detections: Iterable[dict], threshold: float) -> list[dict]:
    """The detections whose score is greater than a threshold."""
    return [d for d in detections if d["score"] > threshold]


def match_images(truth: COCO, detections: Iterable[dict]) -> dict[int, ImageMatches]:
    """Mask IoU of detections and ground truth, for every image of the ground truth."""
    by_image = defaultdict(list)
    for detection in detections:
        by_image[detection["image_id"]].append(detection)
    return {
        image_id: _match(truth.imgToAnns[image_id], by_image[image_id])
        for image_id in sorted(truth.getImgIds())
    }


def _match(truths: Sequence[dict], detections: Sequence[dict]) -> ImageMatches:
    scores = np.array([d["score"] for d in detections], dtype=float)
    if not truths or not detections:
        return ImageMatches(np.zeros((len(detections), len(truths))), scores)
    ious = coco_mask.iou(
        [d["segmentation"] for d in detections],
        [t["segmentation"] for t in truths],
        [0] * len(truths),
    )
    same_class = np.equal.outer(
        [d["category_id"] for d in detections], [t["category_id"] for t in truths]
    )
    return ImageMatches(np.where(same_class, ious, 0.0), scores)


def release_ap(truth: COCO, detections: Iterable[dict], score_threshold: float) -> dict[str, float]:
    """The published implementation's per-image AP, of the detections above a score."""
    matches = match_images(truth, above_score(detections, score_threshold))
    return mean_image_ap(matches.values())


def lesion_counts(
    truth: COCO, detections: Iterable[dict], score_threshold: float, iou_threshold: float = 0.5
) -> dict[int, dict[str, int]]:
    """Per image: lesions, those found, and detections that are no lesion.

    A lesion is found when a detection above the score overlaps it with more than the IoU.

    Returns:
        ``{image_id: {"lesions": ..., "found": ..., "false": ...}}``
    """
    matches = match_images(truth, above_score(detections, score_threshold))
    counts = {}
    for image_id, match in matches.items():
        hit = match.ious > iou_threshold
        counts[image_id] = {
            "lesions": hit.shape[1],
            "found": int(hit.any(axis=0).sum()),
            "false": int((~hit.any(axis=1)).sum()),
        }
    return counts


def ap_by_patient(truth: COCO, detections: Sequence[dict]) -> dict[str, dict[str, float]]:
    """COCO mask AP of each patient's slices; NaN for a patient without lesions."""
    images = defaultdict(list)
    for image in truth.loadImgs(truth.getImgIds()):
        if "patient" in image:
            images[image["patient"]].append(image["id"])
    return {
        patient: {"slices": len(ids), **coco_ap(truth, detections, image_ids=ids)}
        for patient, ids in sorted(images.items())
    }
