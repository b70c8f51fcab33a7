"""The pixel grid of a synthetic slice and the geometry of the chest on it; H x W pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .anatomy import Anatomy, lung_between
from .trees import CANVAS

COARSE = 128
"""Side in pixels of the grid on which the smooth fields are computed, for every image size."""


@dataclass(frozen=True)
class Grid:
    """The pixels of a slice in the patient's canonical frame (see ``anatomy.py``)."""

    x: np.ndarray  # (H, W) float32, mm
    y: np.ndarray
    pixel: float  # side of a pixel in canonical mm
    spacing_mm: float  # side of a pixel in mm
    to_pixel: np.ndarray  # (2, 3) affine from canonical x, y to pixel coordinates

    @classmethod
    def of(cls, anatomy: Anatomy, size: int) -> Grid:
        """Make the grid of a patient's field of view at ``size`` x ``size`` pixels."""
        spacing = anatomy.fov_mm / size
        c, s = np.cos(anatomy.rotation), np.sin(anatomy.rotation)
        turn = np.asarray([[c, -s], [s, c]]) @ np.diag(anatomy.scale[:2]) / spacing
        centre = (size - 1) / 2 + np.asarray(anatomy.shift_mm) / spacing
        back = np.linalg.inv(turn)
        col, row = np.meshgrid(np.arange(size) - centre[0], np.arange(size) - centre[1])
        x = (back[0, 0] * col + back[0, 1] * row).astype(np.float32)
        y = (back[1, 0] * col + back[1, 1] * row).astype(np.float32)
        pixel = spacing / float(np.mean(anatomy.scale[:2]))
        return cls(x, y, pixel, spacing, np.column_stack([turn, centre]))

    @property
    def size(self) -> int:
        """Pixels along a side."""
        return self.x.shape[0]

    def canvas_position(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Convert canonical x, y to pixel coordinates of the canvas that trees are drawn on."""
        zoom = CANVAS / self.size
        col, row = self.to_pixel @ np.stack([x, y, np.ones_like(x)])
        return (col + 0.5) * zoom - 0.5, (row + 0.5) * zoom - 0.5

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice]:
        """Index slices of the pixels within ``reach`` mm of a position."""
        col, row = self.to_pixel @ (x, y, 1.0)
        r = reach / self.pixel * 1.1 + 2
        return tuple(
            slice(max(int(v - r), 0), max(min(int(v + r) + 1, self.size), 0)) for v in (row, col)
        )

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Compute the share of each pixel inside a shape, 0..1, from the signed distance in mm."""
        return np.clip(0.5 - distance / self.pixel, 0, 1)

    def paint(self, hu: np.ndarray, distance: np.ndarray, value) -> None:
        """Fill a shape in place; ``value`` in HU, a number or (H, W)."""
        hu += self.cover(distance) * (value - hu)

    def paint_at(self, hu: np.ndarray, x: float, y: float, reach: float, shape, value) -> None:
        """Fill a small shape in place.

        Args:
            hu: (H, W), changed in place.
            x, y: canonical position of the shape in mm.
            reach: only pixels within this distance in mm are computed.
            shape: function from x, y to the signed distance in mm.
            value: value in HU.
        """
        w = self.window(x, y, reach)
        self.paint(hu[w], shape(self.x[w], self.y[w]), value)

    def enlarge(self, coarse: np.ndarray) -> np.ndarray:
        """Interpolate a smooth field (COARSE, COARSE) to this grid."""
        return cv2.resize(coarse, (self.size, self.size), interpolation=cv2.INTER_CUBIC)


@dataclass(frozen=True)
class Fields:
    """Geometry of a slice, (H, W) float32.

    ``body``, ``cavity``, ``lung`` and ``organs`` are signed distances in mm, ``organs_hu`` is in
    HU, and the others are smooth random fields.
    """

    body: np.ndarray
    cavity: np.ndarray
    lung: np.ndarray
    organs: np.ndarray
    organs_hu: np.ndarray
    slow: np.ndarray
    planes: np.ndarray
    texture: np.ndarray

    @classmethod
    def of(cls, a: Anatomy, grid: Grid, coarse: Grid, z: float) -> Fields:
        """Compute the fields of the slice at ``z``; the smooth ones on ``coarse``, for speed."""
        x, y = coarse.x, coarse.y
        slow = a.organs(x, y, z)
        organs, organs_hu = a.soft_organs(x, y, z, slow)
        solid = a.solid(x, y, z, slow, organs)
        cavity = a.cavity(x, y, z, slow)
        body = a.body(x, y, z, slow)
        smooth = [body, cavity, solid, organs, organs_hu, slow, a.wall(x, y, z), a.texture(x, y, z)]
        body, cavity, solid, *others = (grid.enlarge(field) for field in smooth)
        return cls(body, cavity, lung_between(grid.x, grid.y, cavity, solid), *others)
