"""The air inside a chest: without the air around the body, the trachea and the main bronchi.

Z x Y x X voxels of a coarse scan, in the internal orientation; lengths are in mm.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from .lung_shape import Spacing, dilate, erode, largest_component

AIR_BELOW_HU = -400
"""Halfway between lung and soft tissue."""
THIN_MM = 4.0
"""Thinner things are not body: the table's shell, blankets, clothes, cables."""
LUMEN_HU = -700
"""A trachea's wall of 2 mm beside the lung is above this on the coarse grid, its lumen below."""
PURE_AIR_HU = -900
POCKET_HU = -965
"""A piece of air with a lower median is no lung, not even an emphysematous one."""
TRACHEA_MM2 = (60.0, 700.0)
WIDEST_MM2 = 1000.0
"""A section of the airways is smaller, also where the trachea divides."""
OFF_MIDLINE_MM = 40.0
SHORTEST_TRACHEA_MM = 25.0
WALL_MM = 3.0


def find_body(hu: np.ndarray, spacing: Spacing) -> np.ndarray:
    """The solid part of the body, (Z, Y, X) bool: the largest connected piece without thin ones."""
    return largest_component(_open(hu > AIR_BELOW_HU, THIN_MM / 2, spacing))


def _open(mask: np.ndarray, radius: float, spacing: Spacing) -> np.ndarray:
    return dilate(erode(mask, radius, spacing), radius, spacing) & mask


def outside_of(body: np.ndarray) -> np.ndarray:
    """What lies outside the body in each slice: connected with the slice's edge beside it."""
    outside = np.zeros_like(body)
    for index, solid in enumerate(body):
        regions, _ = ndimage.label(~solid)
        edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
        outside[index] = np.isin(regions, np.unique(edge[edge > 0]))
    return outside


def without_pockets(air: np.ndarray, hu: np.ndarray) -> np.ndarray:
    """Air (Z, Y, X) bool without pieces of pure air: bowel gas, pockets beside an arm."""
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

    The trachea is followed from slice to slice towards the feet: a round section of air near the
    midline, then the sections of air below it, until they join the lung.

    Args:
        hu: of the coarse scan.
        inside: air inside the body.
        middle: column of the body's midline.
        spacing: z, y, x.
        both_ways: also look for a trachea that runs the other way, if the orientation is unknown.
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
    """Sections of a slice that may be a trachea."""
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
    """The sections that are connected with one, from its slice towards the feet."""
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
