"""The lungs of a scan, found in HU by thresholds and shapes, or given as a mask.

They are found on a grid of about 2.5 mm (Z x Y x X; S x H x W is the scan's):

1. the body is the largest connected piece above -400 HU after an opening that removes structures
   thinner than 4 mm; air connected to the edge of a slice is outside it
   (:mod:`ct_lesion.lesions.lung_air`);
2. the trachea is followed slice by slice down to the main bronchi, and removed;
3. the two largest pieces of the remaining air are the lungs; touching lungs are split at the
   narrowest place (:mod:`ct_lesion.lesions.lung_shape`);
4. vessels and lesions inside are filled, and so are dents that face the ribs, e.g. from a
   consolidation at the pleura;
5. the result is checked (:mod:`ct_lesion.lesions.lung_checks`). If it may not be two lungs, the
   lungs are unknown, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ct_lesion.scans.scan import AIR_HU, Scan

from .detections import LUNGS
from .lung_air import AIR_BELOW_HU, find_airways, find_body, outside_of, without_pockets
from .lung_checks import LEAST_SYMMETRY, LungFacts, doubt_about, edge_voxels, end_sections
from .lung_grid import CoarseGrid
from .lung_hull import LungHull
from .lung_shape import Spacing, close, distance_to, fill_costal_dents, fill_holes, split_in_two

RIGHT, LEFT = LUNGS
SIDE_UNKNOWN = 3
HIGHEST_HU = 400
"""Higher values are clipped, so that metal and bone do not brighten averaged voxels."""
VESSEL_MM = 10.0
"""Radius of the closing that fills vessels and lesions."""
NO_AIR = "no lung was found inside the body"
NO_SIDES_NOTE = "the sides of the lungs are unknown: {why}"
CUT_NOTE = (
    "the scan starts or ends within the lungs, so shares and thirds refer to the scanned part only"
)


@dataclass(frozen=True)
class Lungs:
    """The lungs of a scan, or why they are unknown.

    Attributes:
        labels: (S, H, W) uint8: 0 background, 1 right, 2 left, 3 side unknown; ``None`` if the
            lungs are unknown.
        doubt: why the lungs are unknown; ``None`` if they are known.
        notes: limits of the results, one line each.
        hull: hull of both lungs; ``None`` if they are unknown or a mask could not be split.
        facts: measures that the lungs were checked with; ``None`` for a given mask, and if the
            search ended before the checks.
        oriented: whether the directions of head and sides are known.
        lobes: (S, H, W) uint8, 0 background, 1 to 5; ``None`` if not given.
    """

    labels: np.ndarray | None = field(default=None, repr=False)
    doubt: str | None = None
    notes: tuple[str, ...] = ()
    hull: LungHull | None = field(default=None, repr=False)
    facts: LungFacts | None = None
    oriented: bool = True
    lobes: np.ndarray | None = field(default=None, repr=False)


def find_lungs(scan: Scan, progress: Callable[[range], Iterable[int]] | None = None) -> Lungs:
    """Find the lungs of a scan in HU, as the module's docstring describes.

    Each slice is read once.

    Args:
        scan: any scan; without HU or voxel size its lungs are unknown.
        progress: wraps the slice indices while slices are read, e.g. in a progress bar.

    Raises:
        DatasetError: a slice cannot be read.
    """
    if not scan.is_hu:
        return Lungs(doubt="the images are grey, without HU")
    if scan.spacing_mm is None or scan.spacing_mm[0] is None:
        return Lungs(doubt="the size of the voxels is unknown")
    grid = CoarseGrid.of(scan.shape, scan.spacing_mm)
    indices = range(len(scan))
    hu = grid.reduce(_clipped(scan, progress(indices) if progress else indices))
    oriented = scan.is_oriented
    body = find_body(hu, grid.spacing)
    outside = outside_of(body)
    air = (hu < AIR_BELOW_HU) & ~outside
    if not (body.any() and air.any()):
        return Lungs(doubt=NO_AIR)
    middle = float(np.nonzero(body)[2].mean())
    airways = find_airways(hu, air, middle, grid.spacing, both_ways=not oriented)
    found = split_in_two(without_pockets(air & ~airways, hu), grid.spacing)
    if not found:
        return Lungs(doubt=NO_AIR)
    lungs = _completed(found, airways, middle, grid.spacing)
    facts = _facts(lungs, np.median(hu[np.any(found, axis=0)]), body, outside, grid)
    if doubt := doubt_about(facts):
        return Lungs(doubt=doubt, facts=facts)
    notes = _notes(oriented) + ([CUT_NOTE] if facts.is_cut else [])
    return Lungs(
        grid.enlarge(_labelled(lungs, oriented)),
        notes=tuple(notes),
        hull=LungHull.around(lungs, grid),
        facts=facts,
        oriented=oriented,
    )


def lungs_of_mask(mask: np.ndarray, scan: Scan) -> Lungs:
    """The lungs of a mask, split into right and left if possible.

    Args:
        mask: (S, H, W) bool, on the scan's grid.
        scan: gives the spacing and orientation.
    """
    whole = np.where(mask, np.uint8(SIDE_UNKNOWN), np.uint8(0))
    oriented = scan.is_oriented
    if scan.spacing_mm is None or scan.spacing_mm[0] is None:
        why = "the size of the voxels is unknown"
        return Lungs(whole, notes=(NO_SIDES_NOTE.format(why=why),), oriented=oriented)
    grid = CoarseGrid.of(scan.shape, scan.spacing_mm)
    lungs = split_in_two(grid.reduce(mask) >= 0.5, grid.spacing)
    sizes = sorted(int(lung.sum()) for lung in lungs)
    if len(lungs) < 2 or sizes[0] < LEAST_SYMMETRY * sizes[1]:
        why = "the mask does not have two parts of similar size"
        return Lungs(whole, notes=(NO_SIDES_NOTE.format(why=why),), oriented=oriented)
    hull = LungHull.around(lungs, grid)
    if oriented:
        right, left = (distance_to(lung, grid.spacing) for lung in lungs)
        nearest = grid.enlarge(np.where(right <= left, np.uint8(RIGHT), np.uint8(LEFT)))
        whole[mask] = nearest[mask]
    return Lungs(whole, notes=tuple(_notes(oriented)), hull=hull, oriented=oriented)


def _clipped(scan: Scan, indices: Iterable[int]) -> Iterator[np.ndarray]:
    for index in indices:
        yield np.clip(scan.values(index), AIR_HU, HIGHEST_HU)


def _notes(oriented: bool) -> list[str]:
    why = "the file does not give a certain orientation"
    return [] if oriented else [NO_SIDES_NOTE.format(why=why)]


def _completed(
    lungs: Sequence[np.ndarray], airways: np.ndarray, middle: float, spacing: Spacing
) -> list[np.ndarray]:
    """The lungs with their vessels and lesions filled, without overlap and without the airways."""
    filled = [fill_holes(close(lung, VESSEL_MM, spacing)) & ~airways for lung in lungs]
    filled = [lung & ~np.any(filled[:number], axis=0) for number, lung in enumerate(filled)]
    return fill_costal_dents(filled, airways, middle, spacing)


def _labelled(lungs: Sequence[np.ndarray], oriented: bool) -> np.ndarray:
    labels = np.zeros(lungs[0].shape, np.uint8)
    for label, lung in zip((RIGHT, LEFT), lungs, strict=True):
        labels[lung] = label if oriented else SIDE_UNKNOWN
    return labels


def _facts(
    lungs: Sequence[np.ndarray],
    median_hu: float,
    body: np.ndarray,
    outside: np.ndarray,
    grid: CoarseGrid,
) -> LungFacts:
    both = np.any(lungs, axis=0)
    slices = both.any(axis=(1, 2))
    middles = np.array([np.nonzero(lung)[2].mean() for lung in lungs])
    # the body's middle, not the lungs': the heart may push both lungs to one side
    columns = np.nonzero(body[slices].any(axis=(0, 1)))[0]
    first, last = end_sections(both)
    return LungFacts(
        volumes_ml=tuple(float(lung.sum()) * grid.voxel_ml for lung in lungs),
        share_of_body=float(both.sum() / max((~outside[slices]).sum(), 1)),
        median_hu=float(median_hu),
        first_section=first,
        last_section=last,
        edge_mm2=edge_voxels(both, outside) * grid.spacing[1] * grid.spacing[2],
        astride=bool(middles.min() < columns.mean() < middles.max()),
    )
