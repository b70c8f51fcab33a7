"""Lesion instances of a label mask.

Values of CNCB's label masks: 0 background, 1 lung field, 2 ground-glass opacity (GGO), 3
consolidation.

Shapes: H x W pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as coco_mask

LABELS = BACKGROUND, LUNG, GGO, CONSOLIDATION = 0, 1, 2, 3


@dataclass(frozen=True)
class MaskType:
    """Assignment of label values to lesion classes.

    Attributes:
        dataset: common part of the registered datasets' names, e.g. ``cncb_lesion``.
        classes: label values of each class, by class name, in the order of the class indices.
    """

    dataset: str
    classes: dict[str, tuple[int, ...]]


# The paper's three mask types (section 2; the reported results use "merge").
MASK_TYPES = {
    "merge": MaskType("cncb_lesion", {"Lesion": (GGO, CONSOLIDATION)}),
    "both": MaskType("cncb_ggo_consolidation", {"GGO": (GGO,), "Consolidation": (CONSOLIDATION,)}),
    "ggo": MaskType("cncb_ggo", {"GGO": (GGO,)}),
}


@dataclass(frozen=True)
class LesionInstance:
    """One lesion of a slice.

    Attributes:
        class_index: index into the mask type's classes.
        box: x0, y0, width, height in pixels.
        area: area in pixels.
        rle: COCO run-length encoding, ``counts`` as str.
    """

    class_index: int
    box: tuple[int, int, int, int]
    area: int
    rle: dict


def find_instances(labels: np.ndarray, mask_type: MaskType, min_area: int) -> list[LesionInstance]:
    """Find the 8-connected components of each class.

    Args:
        labels: ``(H, W)`` uint8.
        mask_type: assigns label values to classes.
        min_area: components of fewer pixels are background (paper, section 3, hack 3).

    Returns:
        The instances class by class, in raster order of the components' first pixels.
    """
    instances = []
    for class_index, values in enumerate(mask_type.classes.values()):
        foreground = np.isin(labels, values).astype(np.uint8)
        count, components, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
        for component in range(1, count):
            x, y, width, height, area = (int(v) for v in stats[component])
            if area >= min_area:
                rle = encode_mask(components == component)
                instances.append(LesionInstance(class_index, (x, y, width, height), area, rle))
    return instances


def encode_mask(mask: np.ndarray) -> dict:
    """COCO run-length encoding of an ``(H, W)`` boolean mask, ready for json."""
    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
