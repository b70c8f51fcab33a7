"""Segmentation metrics of COCO results against a COCO ground truth.

All values are in [0, 1], NaN if undefined.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from .mask_ap import MaskAP
from .release_ap import ImageMatches, mean_image_ap

FOUND_IOU = 0.5


def above_score(detections: Iterable[dict], threshold: float) -> list[dict]:
    """The detections with a score above the threshold."""
    return [d for d in detections if d["score"] > threshold]


def best_of_each_image(detections: Sequence[dict], limit: int) -> list[dict]:
    """The ``limit`` detections with the highest scores of each image and class, COCO's maxDets.

    Args:
        detections: COCO results.
        limit: ``TEST.DETECTIONS_PER_IMAGE``.
    """
    groups = defaultdict(list)
    for index, detection in enumerate(detections):
        key = detection["image_id"], detection["category_id"]
        groups[key].append((-detection["score"], index))
    kept = {index for group in groups.values() for _, index in sorted(group)[:limit]}
    return [d for index, d in enumerate(detections) if index in kept]


def match_images(truth: COCO, detections: Iterable[dict]) -> dict[int, ImageMatches]:
    """Mask IoU of detections and true lesions of the same class, by image id."""
    by_image = defaultdict(list)
    for detection in detections:
        by_image[detection["image_id"]].append(detection)
    return {
        image_id: _match(truth, truth.imgToAnns[image_id], by_image[image_id])
        for image_id in sorted(truth.getImgIds())
    }


def _match(truth: COCO, lesions: Sequence[dict], detections: Sequence[dict]) -> ImageMatches:
    scores = np.array([d["score"] for d in detections], dtype=float)
    if not lesions or not detections:
        return ImageMatches(np.zeros((len(detections), len(lesions))), scores)
    ious = coco_mask.iou(
        [d["segmentation"] for d in detections],
        [truth.annToRLE(lesion) for lesion in lesions],  # annotations may be polygons
        [0] * len(lesions),
    )
    same_class = np.equal.outer(
        [d["category_id"] for d in detections], [lesion["category_id"] for lesion in lesions]
    )
    return ImageMatches(np.where(same_class, ious, 0.0), scores)


def release_ap(truth: COCO, detections: Iterable[dict], score_threshold: float) -> dict[str, float]:
    """``AP50``, ``AP75`` and ``AP`` averaged over images, as in the published implementation.

    Only detections above the score count. The values are NaN if no image has a lesion.
    """
    matches = match_images(truth, above_score(detections, score_threshold))
    return mean_image_ap(matches.values())


def lesion_counts(
    truth: COCO, detections: Iterable[dict], score_threshold: float
) -> dict[int, dict[str, int]]:
    """Numbers of lesions, found lesions and false detections of each image.

    A lesion is found if its IoU with a detection of its class and above the score is above 0.5; a
    detection is false if it finds no lesion.

    Returns:
        ``{image_id: {"lesions": ..., "found": ..., "false": ...}}``
    """
    matches = match_images(truth, above_score(detections, score_threshold))
    counts = {}
    for image_id, match in matches.items():
        hit = match.ious > FOUND_IOU
        counts[image_id] = {
            "lesions": hit.shape[1],
            "found": int(hit.any(axis=0).sum()),
            "false": int((~hit.any(axis=1)).sum()),
        }
    return counts


def ap_by_patient(truth: COCO, detections: Sequence[dict]) -> dict[str, dict[str, float]]:
    """Number of slices and COCO mask AP of each patient; AP is NaN for patients without lesions.

    Images without a patient are left out.
    """
    images = defaultdict(list)
    for image in truth.loadImgs(truth.getImgIds()):
        if "patient" in image:
            images[str(image["patient"])].append(image["id"])
    return {
        patient: {"slices": len(ids), **MaskAP(truth, detections, image_ids=ids).of()}
        for patient, ids in sorted(images.items())
    }
