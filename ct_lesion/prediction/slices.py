"""The predictions for one slice, as plain values small enough to keep for a whole scan.

Shapes: H x W pixels of the slice. Boxes are x0, y0, x1, y1 in pixels of the slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.structures import Instances
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.lesion_masks import encode_mask


@dataclass(frozen=True)
class Detection:
    """What the segmenter finds in one slice: part of a lesion, or all of it.

    Attributes:
        score: 0..1.
        class_index: counts from 0, in the order of the segmenter's classes.
        box: x0, y0, x1, y1.
        area_px: pixels of the mask.
        rle: the mask in COCO run-length encoding, with ``counts`` as str.
    """

    score: float
    class_index: int
    box: tuple[float, float, float, float]
    area_px: int
    rle: dict

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool."""
        return coco_mask.decode(self.rle).astype(bool)


@dataclass(frozen=True)
class SlicePrediction:
    """The predictions for one slice of a scan.

    Attributes:
        index: index of the slice, from 0 at the feet.
        detections: sorted by decreasing score.
        logits: logits of the image classes; ``None`` without a classifier.
        region_score: score of the top-ranked region of the classifier's RoI batch, 0..1; ``None``
            without a classifier.
    """

    index: int
    detections: Sequence[Detection] = field(default_factory=tuple)
    logits: tuple[float, ...] | None = None
    region_score: float | None = None

    @property
    def columns(self) -> tuple[list[dict], list[float], list[int]]:
        """The masks, scores and class indices of the detections."""
        return (
            [detection.rle for detection in self.detections],
            [detection.score for detection in self.detections],
            [detection.class_index for detection in self.detections],
        )

    def label_mask(self, height: int, width: int) -> np.ndarray:
        """(H, W) uint8: 0 background, else lesion class + 1.

        Where detections overlap, the one with the highest score determines the label.
        """
        labels = np.zeros((height, width), np.uint8)
        for detection in reversed(self.detections):
            labels[detection.mask] = detection.class_index + 1
        return labels


def detections_of(instances: Instances) -> tuple[Detection, ...]:
    """Convert Detectron2's output to detections, by decreasing score; empty masks are dropped.

    Args:
        instances: has ``pred_boxes``, ``scores``, ``pred_classes`` and ``pred_masks`` (R, H, W).
    """
    instances = instances.to("cpu")
    order = np.argsort(-instances.scores.numpy(), kind="stable").tolist()
    boxes = instances.pred_boxes.tensor.tolist()
    detections = []
    for i in order:
        mask = np.asarray(instances.pred_masks[i])
        if area := int(np.count_nonzero(mask)):
            detections.append(
                Detection(
                    score=float(instances.scores[i]),
                    class_index=int(instances.pred_classes[i]),
                    box=tuple(boxes[i]),
                    area_px=area,
                    rle=encode_mask(mask),
                )
            )
    return tuple(detections)
