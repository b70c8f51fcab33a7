"""The body, the air outside it, and the airways: trachea and main bronchi.

Z x Y x X voxels of the coarse grid, in the internal orientation; lengths are in mm.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .lung_shape import Spacing, dilate, erode, largest_component

AIR_BELOW_HU = -400
"""Halfway between lung and soft tissue."""
THIN_MM = 4.0
"""Thinner structures are not body, e.g. the table's shell, blankets, clothes and cables."""
LUMEN_HU = -700
"""On the coarse grid the trachea's lumen is below, its 2 mm wall beside the lung above."""
PURE_AIR_HU = -900
"""Median of a section of the trachea is lower."""
POCKET_HU = -965
"""Air with a lower median is not lung, not even with emphysema."""
TRACHEA_MM2 = (60.0, 700.0)
"""Area of a section of the trachea."""
WIDEST_MM2 = 1000.0
"""Largest area of a section of the airways, including the trachea's division."""
OFF_MIDLINE_MM = 40.0
"""Largest distance of the trachea from the body's midline."""
SHORTEST_TRACHEA_MM = 25.0
WALL_MM = 3.0
"""Width of the airways' wall, which is removed with them."""


def find_body(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """The solid part of the body, (Z, Y, X) bool: the largest piece after removing thin ones."""
    return largest_component(_open(hu > AIR_BELOW_HU, THIN_MM / 2, spacing))


def _open(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    return dilate(erode(mask, radius, spacing), radius, spacing) & mask


def outside_of(body: np.ndarray) -> np.ndarray:
    """Voxels outside the body: connected to the edge of their slice without crossing the body."""
    outside = np.zeros_like(body)
    for index, solid in enumerate(body):
        regions, _ = ndimage.label(~solid)
        edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
        outside[index] = np.isin(regions, np.unique(edge[edge > 0]))
    return outside


def without_pockets(air: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """The air (Z, Y, X) bool without pieces of pure air, e.g. bowel gas or air beside an arm."""
    regions, count = ndimage.label(air)
    medians = ndimage.median(hu, regions, np.arange(1, count + 1))
    return np.concatenate([[False], np.asarray(medians) >= POCKET_HU])[regions]


def find_airways(
    hu: np.ndarray,
    inside: np.ndarray,
    middle: float,
    spacing: Spacing,
    *,
    both_ways: bool = False,
) -> np.ndarray:
    """Trachea and main bronchi with their walls, (Z, Y, X) bool; empty if there is no trachea.

    The search starts from a round section of air near the midline and follows the connected
    sections slice by slice towards the feet, until they join the lung.

    Args:
        hu: (Z, Y, X), the coarse scan.
        inside: (Z, Y, X) bool, the air inside the body.
        middle: column of the body's midline.
        spacing: z, y, x.
        both_ways: also search towards the head, for scans of unknown orientation.
    """
    if both_ways:
        found = find_airways(hu, inside, middle, spacing)
        return found if found.any() else find_airways(hu[::-1], inside[::-1], middle, spacing)[::-1]
    lumen = inside & (hu < LUMEN_HU)
    for start in reversed(range(len(hu))):
        for section in _tracheas(hu[start], lumen[start], middle, spacing):
            airway = _follow(lumen, start, section, spacing)
            slices = airway.any(axis=(1, 2)).sum()
            if slices * spacing[0] >= SHORTEST_TRACHEA_MM:
                return dilate(airway, WALL_MM, spacing) & inside
    return np.zeros_like(inside)


def _tracheas(
    hu: np.ndarray, lumen: np.ndarray, middle: float, spacing: Spacing
) -> list[np.ndarray]:
    """Sections of air in a slice that may be the trachea."""
    regions, count = ndimage.label(lumen)
    found = []
    for value in range(1, count + 1):
        section = regions == value
        rows, columns = np.nonzero(section)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        area = len(rows) * spacing[1] * spacing[2]
        is_round = len(rows) > 0.5 * height * width and 0.4 < height / width < 2.5
        near = abs(columns.mean() - middle) * spacing[2] < OFF_MIDLINE_MM
        fits = is_round and near and TRACHEA_MM2[0] < area < TRACHEA_MM2[1]
        if fits and np.median(hu[section]) < PURE_AIR_HU:
            found.append(section)
    return found


def _follow(lumen: np.ndarray, start: int, section: np.ndarray, spacing: Spacing) -> np.ndarray:
    """A section and those connected to it below, slice by slice towards the feet."""
    airway = np.zeros_like(lumen)
    airway[start] = section
    for index in range(start - 1, -1, -1):
        regions, _ = ndimage.label(lumen[index])
        areas = np.bincount(regions.ravel()) * spacing[1] * spacing[2]
        touched = np.unique(regions[airway[index + 1]])
        kept = [value for value in touched if value and areas[value] < WIDEST_MM2]
        if not kept:
            break
        airway[index] = np.isin(regions, kept)
    return airway
