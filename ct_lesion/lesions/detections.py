"""Measures of the detections of one slice.

H x W pixels. A pixel in several detections belongs to the one with the highest score, so that areas
and volumes add up.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from scipy.ndimage import binary_erosion, distance_transform_edt
from scipy.spatial.distance import pdist, squareform

LUNGS = {1: "right", 2: "left"}
"""The labels of the lungs."""
SAME_LENGTH = 1e-5  # relative tolerance for rounding, within which diameters are equal
DENSE_HU = -300
"""Tissue above it looks like a consolidation."""


@dataclass(frozen=True)
class DetectionMeasures:
    """The measures of one detection. Lengths are in mm, or in pixels if the spacing is unknown.

    Attributes:
        score: 0..1.
        class_index: counts from 0.
        area_px: pixels that belong to it; 0 if others hide it.
        diameters: longest diameter of the whole mask, and the extent perpendicular to it; see
            :func:`diameters`.
        hu_sum: sum of HU over its pixels; ``None`` without HU.
        dense_px: pixels above :data:`DENSE_HU`; ``None`` without HU.
        lung_px: pixels in each lung, by label; empty without lungs.
        to_pleura: shortest distance to the pleura of each lung in ``lung_px``, by label.
    """

    score: float
    class_index: int
    area_px: int
    diameters: tuple[float, float]
    hu_sum: float | None = None
    dense_px: int | None = None
    lung_px: Mapping[int, int] = field(default_factory=dict)
    to_pleura: Mapping[int, float] = field(default_factory=dict)


def owner_of_pixels(masks: Sequence[dict], height: int, width: int) -> np.ndarray:
    """The detection that each pixel belongs to, (H, W) int16: 0 background, else 1, 2, ...

    Args:
        masks: masks of the detections in COCO run-length encoding, by decreasing score.
    """
    owner = np.zeros((height, width), np.int16)
    for number in range(len(masks), 0, -1):
        owner[coco_mask.decode(masks[number - 1]).astype(bool)] = number
    return owner


def diameters(mask: np.ndarray, spacing_yx: Sequence[float] = (1.0, 1.0)) -> tuple[float, float]:
    """The longest diameter of a mask, and its extent perpendicular to that.

    Both are measured on the convex hull of the midpoints of the pixels' sides, which makes a disc
    up to half a pixel too wide. The pixels' corners would make it a pixel too wide, their centres
    half a pixel too narrow.

    Args:
        mask: (H, W) bool, not empty.
        spacing_yx: size of the pixels in mm; by default lengths are in pixels.
    """
    rows = np.flatnonzero(mask.any(1))
    left = mask[rows].argmax(1)
    right = mask.shape[1] - mask[rows, ::-1].argmax(1)  # right side of the last pixel
    y = np.concatenate([rows + 0.5, rows + 0.5, rows, rows, rows + 1, rows + 1])
    inner = [left + 0.5, right - 0.5]
    x = np.concatenate([left, right, *inner, *inner])
    points = np.stack([x * spacing_yx[1], y * spacing_yx[0]], axis=1).astype(np.float32)
    hull = cv2.convexHull(points)[:, 0].astype(float)
    apart = squareform(pdist(hull))
    longest = apart.max()
    # of equal diameters, take the one with the largest extent: the result survives mirroring
    a, b = np.nonzero(np.triu(apart) >= longest * (1 - SAME_LENGTH))
    along = (hull[b] - hull[a]) / longest
    across = hull @ np.stack([-along[:, 1], along[:, 0]])
    return float(longest), float((across.max(0) - across.min(0)).max())


def measure_detections(
    masks: Sequence[dict],
    scores: Sequence[float],
    class_indices: Sequence[int],
    *,
    spacing_yx: Sequence[float] | None = None,
    hu: np.ndarray | None = None,
    lungs: np.ndarray | None = None,
) -> list[DetectionMeasures]:
    """Measure the detections of a slice.

    Args:
        masks: masks in COCO run-length encoding, not empty, by decreasing score.
        scores, class_indices: a score and class index for each mask.
        spacing_yx: size of the pixels in mm; by default lengths are in pixels.
        hu: (H, W); by default there is no density.
        lungs: (H, W), see :data:`LUNGS`; other labels are lungs whose side is unknown.

    Returns:
        The measures in the order of the masks.
    """
    if not masks:
        return []
    owner = owner_of_pixels(masks, *masks[0]["size"])
    spacing = tuple(spacing_yx or (1.0, 1.0))
    depths = {} if lungs is None else _depths(np.asarray(lungs), spacing)
    found = []
    for number, rle in enumerate(masks, start=1):
        region = owner == number
        values = None if hu is None else hu[region]
        lung_px = {label: int((region & lung).sum()) for label, (lung, _) in depths.items()}
        lung_px = {label: pixels for label, pixels in lung_px.items() if pixels}
        found.append(
            DetectionMeasures(
                score=scores[number - 1],
                class_index=class_indices[number - 1],
                area_px=int(region.sum()),
                diameters=diameters(coco_mask.decode(rle) > 0, spacing),
                hu_sum=None if values is None else float(values.sum(dtype=float)),
                dense_px=None if values is None else int((values > DENSE_HU).sum()),
                lung_px=lung_px,
                to_pleura={label: float(depths[label][1][region].min()) for label in lung_px},
            )
        )
    return found


def _depths(lungs: np.ndarray, spacing: tuple) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """For each label, the lung with holes filled, and the distances to its outermost pixels.

    Holes, e.g. vessels and lesions, are filled because their borders are not pleura.
    """
    depths = {}
    for label in np.unique(lungs[lungs > 0]).tolist():
        outlines, _ = cv2.findContours(
            (lungs == label).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        lung = cv2.drawContours(np.zeros(lungs.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
        x, y, width, height = cv2.boundingRect(lung)
        part = np.s_[y : y + height, x : x + width]
        depth = np.zeros(lungs.shape)
        depth[part] = distance_transform_edt(binary_erosion(lung[part]), sampling=spacing)
        depths[int(label)] = (lung > 0, depth)
    return depths
