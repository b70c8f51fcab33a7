"""The coarse grid for finding lungs, and the conversion back to the scan's grid.

Lungs are large and smooth: voxels of about 2.5 mm locate their borders to less than a voxel, and
need a hundredth of a scan's memory. S x H x W is the scan's grid, Z x Y x X the coarse one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

COARSE_MM = 2.5


@dataclass(frozen=True)
class CoarseGrid:
    """The coarse grid of a scan, with voxels of about :data:`COARSE_MM` or the scan's if larger.

    Attributes:
        fine: the scan's shape, (S, H, W).
        fine_spacing: the scan's spacing in mm: z, y, x.
        shape: (Z, Y, X).
        step: scan slices per coarse slice; the last coarse slice may have fewer.
    """

    fine: tuple[int, int, int]
    fine_spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    step: int

    @classmethod
    def of(cls, shape: Sequence[int], spacing: Sequence[float]) -> CoarseGrid:
        """The coarse grid of a scan with a shape (S, H, W) and a spacing z, y, x in mm."""
        step = max(1, round(COARSE_MM / spacing[0]))
        plane = [
            max(1, round(n / max(1.0, COARSE_MM / mm)))
            for n, mm in zip(shape[1:], spacing[1:], strict=True)
        ]
        coarse = (-(-shape[0] // step), *plane)
        return cls(tuple(shape), tuple(map(float, spacing)), coarse, step)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Size of the coarse voxels in mm: z, y, x."""
        z, *plane = self.fine_spacing
        sides = zip(plane, self.fine[1:], self.shape[1:], strict=True)
        return (z * self.step, *(mm * fine / coarse for mm, fine, coarse in sides))

    @property
    def voxel_ml(self) -> float:
        """Volume of a coarse voxel."""
        return float(np.prod(self.spacing)) / 1000

    def reduce(self, slices: Iterable[np.ndarray]) -> np.ndarray:
        """Average a scan's slices (H, W), given in order, to (Z, Y, X) float32."""
        sums = np.zeros(self.shape, np.float32)
        counts = np.zeros((len(sums), 1, 1), np.float32)
        size = self.shape[:0:-1]
        for index, values in enumerate(slices):
            values = np.ascontiguousarray(values, np.float32)
            sums[index // self.step] += cv2.resize(values, size, interpolation=cv2.INTER_AREA)
            counts[index // self.step] += 1
        return sums / counts

    def enlarge(self, labels: np.ndarray) -> np.ndarray:
        """Enlarge labels to the scan's grid, (S, H, W) uint8, with linearly interpolated borders.

        Args:
            labels: (Z, Y, X) uint8, 0 is background.
        """
        depth, height, width = self.fine
        found = np.zeros(self.fine, np.uint8)
        values = [int(value) for value in np.unique(labels) if value]
        for index in range(depth):
            z = np.clip((index + 0.5) / self.step - 0.5, 0, len(labels) - 1)
            low, share = int(z), np.float32(z % 1)
            high = min(low + 1, len(labels) - 1)
            most = np.full((height, width), 0.5, np.float32)
            for value in values:
                inside = (1 - share) * (labels[low] == value) + share * (labels[high] == value)
                if inside.any():
                    inside = cv2.resize(inside, (width, height), interpolation=cv2.INTER_LINEAR)
                    found[index][inside > most] = value
                    np.maximum(most, inside, out=most)
        return found

    def positions(self, coarse_voxels: np.ndarray) -> np.ndarray:
        """Positions of coarse voxels, given by index (N, 3), in mm from the scan's first voxel."""
        factors = np.divide(self.spacing, self.fine_spacing)
        return ((coarse_voxels + 0.5) * factors - 0.5) * self.fine_spacing
