"""The convex hulls of the lungs; detections outside them are not lung lesions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.spatial import ConvexHull, QhullError

from .lung_grid import CoarseGrid

MARGIN_MM = 10.0
"""Margin around a hull: the lung may be found without a consolidation at its edge."""
MOST_POINTS = 2000
"""Largest number of a mask's pixels that are tested."""


@dataclass(frozen=True)
class LungHull:
    """A convex hull of each lung, with a margin.

    Attributes:
        planes: for each lung, its hull's faces, (P, 4): a point q (z, y, x in mm from the scan's
            first voxel) is inside if ``q @ plane[:3] + plane[3]`` is at most the margin for all.
        spacing: the scan's spacing in mm: z, y, x.
    """

    planes: tuple[np.ndarray, ...]
    spacing: tuple[float, float, float]

    @classmethod
    def around(cls, lungs: Sequence[np.ndarray], grid: CoarseGrid) -> LungHull:
        """The hulls of masks (Z, Y, X) on a coarse grid, which are not empty."""
        planes = []
        for lung in lungs:
            surface = np.argwhere(lung & ~binary_erosion(lung))
            try:
                hull = ConvexHull(grid.positions(surface))
            except QhullError:  # a flat mask, e.g. in a scan of one slice: take the voxels' corners
                corners = surface[:, None] + list(product((-0.5, 0.5), repeat=3))
                hull = ConvexHull(grid.positions(corners.reshape(-1, 3)))
            planes.append(hull.equations)
        return cls(tuple(planes), grid.fine_spacing)

    def contains_part_of(self, mask: np.ndarray, index: int) -> bool:
        """Whether any pixel of a mask (H, W) in the slice ``index`` lies inside a hull."""
        rows, columns = np.nonzero(mask)
        every = 1 + len(rows) // MOST_POINTS
        rows, columns = rows[::every], columns[::every]
        points = np.stack([np.full(len(rows), index), rows, columns], axis=1) * self.spacing
        return any(
            bool((points @ planes[:, :3].T + planes[:, 3] <= MARGIN_MM).all(axis=1).any())
            for planes in self.planes
        )
