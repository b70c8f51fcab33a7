"""Projections of a scan and its lesions along the three axes, collected slice by slice.

S slices, H x W pixels in the internal orientation. Pictures have the patient's head or front at the
top, and the patient's right or front on the left.
"""

from dataclasses import dataclass

import numpy as np

NAMES = ("coronal", "sagittal", "axial")
AIR_HU, BONE_HU = -1000.0, 400.0  # the range of the mean
CONTRAST = (1.0, 99.5)  # percentiles of a projection that map to black and white
NO_LESION = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Projection:
    """A projection.

    Attributes:
        mean: (h, w) uint8, grey values of the mean along the axis.
        numbers: (h, w) int32, number of the lesion along the axis, 0 without lesion. Of several
            lesions, the largest counts; it has the lowest number.
    """

    mean: np.ndarray
    numbers: np.ndarray


class Projections:
    """Collects the projections of a scan."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        """
        Args:
            shape: (S, H, W) of the scan.
        """
        count, height, width = shape
        shapes = ((count, width), (count, height), (height, width))
        self._sums = [np.zeros(shape) for shape in shapes]
        self._lowest = [np.full(shape, NO_LESION, np.int32) for shape in shapes]

    def add_slice(self, index: int, values: np.ndarray, is_hu: bool) -> None:
        """Add a slice, (H, W): HU, or grey values if ``is_hu`` is false."""
        if is_hu:
            values = np.clip(values, AIR_HU, BONE_HU)
        coronal, sagittal, axial = self._sums
        coronal[index] = values.mean(0)
        sagittal[index] = values.mean(1)
        axial += values

    def add_lesions(self, index: int, numbers: np.ndarray) -> None:
        """Add the lesions of a slice, (H, W) with the lesion number of each pixel, 0 background."""
        lesions = np.where(numbers > 0, numbers.astype(np.int32), np.int32(NO_LESION))
        coronal, sagittal, axial = self._lowest
        coronal[index] = lesions.min(0)
        sagittal[index] = lesions.min(1)
        np.minimum(axial, lesions, out=axial)

    def finish(self) -> dict[str, Projection]:
        """The projections by :data:`NAMES`."""
        found = {}
        for name, total, lowest in zip(NAMES, self._sums, self._lowest, strict=True):
            low, high = np.percentile(total, CONTRAST)
            mean = np.clip((total - low) / max(high - low, 1e-9), 0, 1) * 255
            numbers = np.where(lowest == NO_LESION, 0, lowest)
            order = np.s_[:] if name == "axial" else np.s_[::-1]  # head at the top
            found[name] = Projection(np.rint(mean).astype(np.uint8)[order], numbers[order])
        return found
