"""The average precision (AP) of the paper's Table 2, which differs from COCO's.

The published implementation averages the AP of single images.
Shapes: G ground-truth lesions and D detections of one image, T IoU thresholds.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

IOU_THRESHOLDS = np.arange(0.5, 0.96, 0.05)


@dataclass(frozen=True)
class ImageMatches:
    """The detections of an image, compared with its ground truth.

    Attributes:
        ious: (D, G) mask IoU, 0 where the classes differ.
        scores: (D,) of the detections.
    """

    ious: np.ndarray
    scores: np.ndarray


def image_ap(matches: ImageMatches, iou_threshold: float) -> float:
    """AP of one image at one IoU threshold, in [0, 1].

    Each lesion is matched to the detection with the highest IoU, if it is above the threshold. A
    detection may match two lesions and then counts once. AP is 1 without lesions and detections, 0
    if only one of them is missing, else the area under the precision envelope of the detections in
    decreasing order of score.
    """
    num_detections, num_truths = matches.ious.shape
    if num_detections == 0 or num_truths == 0:
        return float(num_detections == num_truths)
    best = matches.ious.argmax(axis=0)
    overlaps = matches.ious[best, np.arange(num_truths)]
    matched = np.zeros(num_detections, dtype=bool)
    matched[best[overlaps > iou_threshold]] = True
    matched = matched[np.argsort(-matches.scores, kind="stable")]

    hits = np.cumsum(matched)
    recall = hits / num_truths
    precision = hits / np.arange(1, num_detections + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def mean_image_ap(images: Iterable[ImageMatches]) -> dict[str, float]:
    """AP averaged over images, at IoU 0.5, at 0.75, and over 0.5 to 0.95 in steps of 0.05.

    Returns:
        ``AP50``, ``AP75`` and ``AP``, in [0, 1]; NaN if no image has a lesion.
    """
    images = list(images)
    if not any(image.ious.shape[1] for image in images):
        return {"AP50": float("nan"), "AP75": float("nan"), "AP": float("nan")}
    by_threshold = {
        round(float(t), 2): float(np.mean([image_ap(image, t) for image in images]))
        for t in IOU_THRESHOLDS
    }
    return {
        "AP50": by_threshold[0.5],
        "AP75": by_threshold[0.75],
        "AP": float(np.mean(list(by_threshold.values()))),
    }
