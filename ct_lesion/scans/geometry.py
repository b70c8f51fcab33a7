"""The grid of a scan, and the mapping between the input's axes and the internal ones.

Internal orientation: S slices, H x W pixels; slice 0 is nearest the feet, rows run to the
patient's back, columns to the patient's left (LPS). Oblique volumes are assigned to the nearest of
these axes: voxels are reordered, never resampled, so a mask maps back voxel for voxel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import DatasetError

Vector = tuple[float, float, float]
LARGEST_NUMBER = 1e6  # mm; an origin a kilometre away means a damaged header
MOST_SHEAR_DEGREES = 1.0
STRAIGHTEN = (
    "Resample the volume to perpendicular axes, or convert the DICOM files again with a program "
    "that corrects the gantry tilt, e.g. dcm2niix."
)
_REPAIR = "Correct the header, or convert the original files again."
SAME_PLACE = 0.25  # of the smallest side of a voxel; converters round positions and spacings


@dataclass(frozen=True)
class Geometry:
    """The grid of an input, in SimpleITK's terms.

    Attributes:
        size: voxels along the input's x, y and z.
        spacing: mm along them.
        origin: LPS position of the first voxel in mm.
        direction: row-major 3 x 3; column k is the direction of axis k.
        certain: whether the file gives an orientation, and does not contradict it.
    """

    size: tuple[int, int, int]
    spacing: Vector
    origin: Vector
    direction: tuple[float, ...]
    certain: bool = True

    @classmethod
    def without_position(
        cls, shape: tuple[int, int, int], spacing_zyx: Vector = (1.0, 1.0, 1.0)
    ) -> Geometry:
        """The geometry of ``(S, H, W)`` slices whose position in the patient is unknown."""
        return cls(
            shape[::-1],
            spacing_zyx[::-1],
            origin=(0.0, 0.0, 0.0),
            direction=(1, 0, 0, 0, 1, 0, 0, 0, 1),
            certain=False,
        )

    @cached_property
    def _orientation(self) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        # let SimpleITK choose the nearest axes, with a volume of one voxel
        probe = sitk.Image(1, 1, 1, sitk.sitkUInt8)
        probe.SetDirection(self.direction)
        orient = sitk.DICOMOrientImageFilter()
        orient.SetDesiredCoordinateOrientation("LPS")
        orient.Execute(probe)
        return tuple(orient.GetPermuteOrder()), tuple(orient.GetFlipAxes())

    @property
    def order(self) -> tuple[int, int, int]:
        """The input's axes that become internal x, y and z."""
        return self._orientation[0]

    @property
    def flips(self) -> tuple[bool, bool, bool]:
        """Which of the internal x, y and z run against the input's axis."""
        return self._orientation[1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Internal shape ``(S, H, W)``."""
        return tuple(self.size[axis] for axis in reversed(self.order))

    @property
    def spacing_zyx(self) -> Vector:
        """Internal spacing in mm: between slices, rows and columns."""
        return tuple(self.spacing[axis] for axis in reversed(self.order))

    @property
    def acquired_axially(self) -> bool:
        """Whether each slice of the input is an internal slice."""
        return self.order[2] == 2

    @property
    def slice_normal(self) -> np.ndarray:
        """Unit vector of the internal slice axis, pointing to the head."""
        axis = np.reshape(self.direction, (3, 3))[:, self.order[2]]
        return -axis if self.flips[2] else axis

    @property
    def degrees_from_axial(self) -> float:
        """Largest angle between an input axis and the patient axis it is assigned to."""
        cosines = np.abs(np.reshape(self.direction, (3, 3))[[0, 1, 2], list(self.order)])
        return float(np.degrees(np.arccos(np.clip(cosines.min(), 0, 1))))

    @property
    def slice_positions(self) -> list[float]:
        """Position of each internal slice along :attr:`slice_normal`, in mm."""
        start = float(np.dot(self.slice_normal, self.origin))
        step, count = self.spacing_zyx[0], self.shape[0]
        if self.flips[2]:
            start -= step * (count - 1)
        return [start + step * index for index in range(count)]

    @property
    def corners(self) -> np.ndarray:
        """LPS positions in mm of four internal voxels: the first, and the last along x, y, z."""
        order, flips, size = list(self.order), np.array(self.flips), np.array(self.shape[::-1])
        axes = (np.reshape(self.direction, (3, 3)) * self.spacing).T[order]
        edges = axes * (size[:, None] - 1)
        first = self.origin + edges[flips].sum(axis=0)
        return np.stack([first, *(first + np.where(flips, -1, 1)[:, None] * edges)])

    def input_slice(self, index: int) -> int:
        """The input's z index of an internal slice; only if :attr:`acquired_axially`."""
        return self.size[2] - 1 - index if self.flips[2] else index

    def slice_to_internal(self, pixels: np.ndarray) -> np.ndarray:
        """An input's ``(y, x)`` slice as internal ``(H, W)``; only if acquired axially."""
        if self.order[0] == 1:
            pixels = pixels.T
        return pixels[:: -1 if self.flips[1] else 1, :: -1 if self.flips[0] else 1]

    def to_internal(self, voxels: np.ndarray) -> np.ndarray:
        """A view of the input's ``(z, y, x)`` array in internal ``(S, H, W)`` order."""
        axes = [2 - axis for axis in reversed(self.order)]
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flips))
        return voxels.transpose(axes)[steps]

    def to_input(self, voxels: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`to_internal`."""
        axes = [2 - axis for axis in reversed(self.order)]
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flips))
        return voxels[steps].transpose(np.argsort(axes))

    def image(self, voxels: np.ndarray) -> sitk.Image:
        """An image on the input's grid from ``(S, H, W)`` voxels in internal order.

        Raises:
            ValueError: the voxels have the wrong shape.
        """
        if voxels.shape != self.shape:
            raise ValueError(f"voxels of shape {voxels.shape} for a scan of shape {self.shape}")
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.to_input(voxels)))
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction)
        return image


def shear_degrees(axes: np.ndarray) -> float:
    """Largest deviation of the angles between the columns of (3, 3) axes from 90 degrees."""
    axes = axes / np.linalg.norm(axes, axis=0)
    return float(np.degrees(np.arcsin(np.clip(np.abs(axes.T @ axes - np.eye(3)).max(), 0, 1))))


def check_geometry(path: Path, geometry: Geometry) -> None:
    """Refuse an impossible grid.

    Raises:
        DatasetError: spacing, origin or axes are not finite or too large, the spacing is not
            positive, or the axes do not span a volume or are not perpendicular.
    """
    for what, numbers in (
        ("spacing", geometry.spacing),
        ("origin", geometry.origin),
        ("axes", geometry.direction),
    ):
        if not np.isfinite(numbers).all() or np.abs(numbers).max() > LARGEST_NUMBER:
            raise DatasetError(
                f"{path}: its header has unusable {what}: {tuple(numbers)}. {_REPAIR}"
            )
    if min(geometry.spacing) <= 0:
        spacing = tuple(geometry.spacing)
        raise DatasetError(f"{path}: its spacing is {spacing} mm, not above 0. {_REPAIR}")
    if abs(np.linalg.det(np.reshape(geometry.direction, (3, 3)))) < 0.5:
        axes = tuple(geometry.direction)
        raise DatasetError(f"{path}: its axes do not span a volume: {axes}. {_REPAIR}")
    shear = shear_degrees(np.reshape(geometry.direction, (3, 3)))
    if shear > MOST_SHEAR_DEGREES:
        raise DatasetError(f"{path}: its axes are sheared by {shear:.1f} degrees. {STRAIGHTEN}")


def check_same_grid(
    path: Path, mask: Geometry, scan: Geometry, of: str | Path, what: str = "scan"
) -> None:
    """Refuse a mask whose voxels are not at the positions of its scan's voxels.

    Grids are compared in space: files may store rows, columns and slices in different orders,
    unless the orientation of one of them is uncertain.

    Args:
        path: path of the mask.
        mask, scan: their grids; ``scan`` may be another mask.
        of, what: name and kind of ``scan``, for the message.

    Raises:
        DatasetError: the grids differ; the message says how.
    """
    if mask.shape != scan.shape:
        raise DatasetError(
            f"{path} has {_sides(mask)} voxels, but its {what} {of} has {_sides(scan)}. Resample "
            f"the mask onto the {what}'s grid."
        )
    apart = np.linalg.norm(mask.corners - scan.corners, axis=1)
    if apart.max() > SAME_PLACE * min(*mask.spacing, *scan.spacing):
        raise DatasetError(
            f"{path} does not fit its {what} {of}: its corners are up to {apart.max():.3g} mm "
            f"off (the mask has {_place(mask)}, the {what} {_place(scan)}). Resample the mask onto "
            f"the {what}'s grid."
        )
    if not (mask.certain and scan.certain) and (mask.order, mask.flips) != (scan.order, scan.flips):
        raise DatasetError(
            f"{path}: its voxels are stored in another order than those of its {what} {of}, and "
            "one of the two files has no certain orientation. Store the mask with the header of "
            f"the {what}."
        )


def _sides(geometry: Geometry) -> str:
    return " x ".join(map(str, geometry.size))


def _place(geometry: Geometry) -> str:
    first, *ends = geometry.corners
    last = first + sum(end - first for end in ends)
    spacing, first, last = (
        "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
        for values in (geometry.spacing_zyx[::-1], first, last)
    )
    return f"voxels of {spacing} mm from {first} to {last}"


class OrientedSlices:
    """Internal slices of an input that is read slice by slice along its z axis.

    If the input is acquired axially, nothing is kept in memory. Otherwise (e.g. a sagittal series)
    each internal slice crosses all slices of the input, so the input is read once and kept.
    """

    def __init__(self, geometry: Geometry, read: Callable[[int], np.ndarray]) -> None:
        """
        Args:
            read: returns the input's slice ``(y, x)`` at an index along its z axis.
        """
        self._geometry, self._read = geometry, read
        self._volume: np.ndarray | None = None
        self._lock = Lock()

    def __call__(self, index: int) -> np.ndarray:
        """The internal slice ``(H, W)``."""
        geometry = self._geometry
        if geometry.acquired_axially:
            pixels = self._read(geometry.input_slice(index))
            return np.ascontiguousarray(geometry.slice_to_internal(pixels))
        with self._lock:
            if self._volume is None:
                self._volume = self._read_all()
        return np.ascontiguousarray(geometry.to_internal(self._volume)[index])

    def _read_all(self) -> np.ndarray:
        first = self._read(0)
        volume = np.empty((self._geometry.size[2], *first.shape), first.dtype)
        volume[0] = first
        for z in range(1, len(volume)):
            volume[z] = self._read(z)
        return volume
