"""Morphology in mm: dilation, erosion, closing, filling and splitting of masks. Z x Y x X voxels.

Voxels beyond the edge of the array do not count as outside, so a mask does not shrink from the ends
of a scan.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import SimpleITK as sitk
from scipy import ndimage

Spacing = Sequence[float]
SPLITTING_MM = (1.0, 3.0, 5.0, 8.0, 11.0)
"""Depths of erosion that are tried to split two touching lungs."""
DENT_MM = 40.0
"""Radius of the closing that fills dents beside the ribs."""
VIEWPOINTS = (0.3, 0.5, 0.7)
"""Points on the body's midline, as shares of the lungs' extent from front to back."""
RAYS = 180
SMALLEST_LUNG = 0.1
"""Share of the eroded mask that the smaller lung has at least."""


def distance_to(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distance of each voxel to the mask in mm, float32; 0 inside, infinite for an empty mask."""
    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(mm) for mm in reversed(spacing)])
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.maximum(sitk.GetArrayFromImage(signed), 0)


def dilate(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    """Voxels within ``radius`` mm of a mask."""
    return distance_to(mask, spacing) <= radius


def erode(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    """Voxels of a mask that are more than ``radius`` mm from the nearest voxel outside."""
    return distance_to(~mask, spacing) > radius


def close(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    """A mask with its holes and dents filled where no ball of ``radius`` mm fits in."""
    filled = mask.copy()
    box = _box(mask, radius, spacing)
    part_of = filled[box]
    part_of |= erode(dilate(part_of, radius, spacing), radius, spacing)
    return filled


def _box(mask: np.ndarray, margin: float, spacing: Spacing) -> tuple[slice, ...]:
    """Index slices of a mask's bounding box, wider by a margin in mm and one or two voxels."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    wider = [int(margin / mm) + 2 for mm in spacing]
    return tuple(
        slice(max(side.start - more, 0), side.stop + more)
        for side, more in zip(found[0] if found else (), wider, strict=bool(found))
    )


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask."""
    regions, count = ndimage.label(mask)
    sizes = np.bincount(regions.ravel(), minlength=2)
    return regions == 1 + sizes[1:].argmax() if count else mask.copy()


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """A mask with its enclosed holes filled; holes that reach the first or last slice stay."""
    return ndimage.binary_fill_holes(mask)


def fill_costal_dents(
    lungs: Sequence[np.ndarray], keep_out: np.ndarray, middle: float, spacing: Spacing
) -> list[np.ndarray]:
    """Fill the dents of the lungs that face the ribs, up to the convex outline of each slice.

    Heart, mediastinum and diaphragm make dents too, which stay: seen from the body's middle, there
    is lung behind these, but not behind a dent that faces the ribs.

    Args:
        lungs: masks that do not overlap.
        keep_out: voxels that are never filled, such as the airways.
        middle: column of the body's midline.
        spacing: z, y, x in mm.

    Returns:
        The filled masks, which do not overlap.
    """
    rows = np.flatnonzero(np.any(lungs, axis=0).any(axis=(0, 2)))
    if not len(rows):
        return list(lungs)
    front, back = int(rows[0]), int(rows[-1])
    centres = [(front + share * (back - front), middle) for share in VIEWPOINTS]
    free = ~np.any([*lungs, keep_out], axis=0)
    free &= np.any([_beyond(~free & ~keep_out, centre, spacing) for centre in centres], axis=0)
    filled = []
    for lung in lungs:
        dents = close(lung, DENT_MM, spacing) & _outline(lung) & free
        free &= ~dents
        filled.append(lung | dents)
    return filled


def _outline(mask: np.ndarray) -> np.ndarray:
    """The convex hull of each slice of a mask."""
    found = np.zeros(mask.shape, np.uint8)
    for index in np.flatnonzero(mask.any(axis=(1, 2))):
        points = cv2.findNonZero(mask[index].astype(np.uint8))
        cv2.fillConvexPoly(found[index], cv2.convexHull(points), 1)
    return found > 0


def _beyond(mask: np.ndarray, centre: tuple[float, float], spacing: Spacing) -> np.ndarray:
    """Voxels behind the mask as seen from a centre (y, x) in their slice."""
    rows, columns = np.indices(mask.shape[1:])
    dy, dx = (rows - centre[0]) * spacing[1], (columns - centre[1]) * spacing[2]
    ray = ((np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * RAYS).astype(int) % RAYS
    radius = np.hypot(dy, dx)
    found = np.zeros_like(mask)
    for index, section in enumerate(mask):
        reach = np.zeros(RAYS)
        np.maximum.at(reach, ray[section], radius[section])
        reach[reach == 0] = np.inf  # no mask in this direction
        found[index] = radius > reach[ray]
    return found


def split_in_two(mask: np.ndarray, spacing: Spacing) -> list[np.ndarray]:
    """The two largest pieces of a mask, from low to high columns; touching pieces are split.

    The mask is eroded until it has two large pieces. These are the markers of a watershed of the
    distance to the outside, which cuts at the narrowest place.

    Returns:
        Two masks; one if there are not two large pieces; none if the mask is empty.
    """
    depth = distance_to(~mask, spacing)
    for limit in (0.0, *SPLITTING_MM):
        regions, count = ndimage.label(depth > limit)
        if not count:
            break
        sizes = np.bincount(regions.ravel())[1:]
        order = sizes.argsort()[::-1][:2]
        if len(order) == 2 and sizes[order[1]] > SMALLEST_LUNG * sizes.sum():
            markers = np.zeros(mask.shape, np.uint8)
            for number, value in enumerate(order, start=1):
                markers[regions == value + 1] = number
            halves = _watershed(-depth, markers, mask)
            return sorted(halves, key=lambda half: np.nonzero(half)[2].mean())
    return [largest_component(mask)] if mask.any() else []


def _watershed(height: np.ndarray, markers: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    basins = sitk.MorphologicalWatershedFromMarkers(
        sitk.GetImageFromArray(height), sitk.GetImageFromArray(markers), markWatershedLine=False
    )
    found = sitk.GetArrayFromImage(basins)
    return [largest_component((found == number) & mask) for number in (1, 2)]
