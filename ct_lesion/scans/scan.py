"""A chest CT scan from any file format: slices in one orientation, in HU or 8-bit grey.

S slices, H x W pixels; slice 0 is nearest the feet, rows run to the back, columns to the patient's
left (see :mod:`ct_lesion.scans.geometry`). Slices are read on demand; reading is thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import DatasetError

from .dicom.images import DicomImage
from .geometry import Geometry
from .volumes.nifti_checks import NOT_FINITE
from .volumes.nifti_header import NiftiHeader
from .windows import DEFAULT_WINDOW, Window

HU_OFFSET_NOTE = "HU = stored value - {offset:g}, as given by --hu"
GREY_NOTE = "8-bit images count as already windowed"
NO_GEOMETRY_NOTE = (
    "these files have no geometry: slices are ordered by name, and masks are written with a "
    "placeholder spacing of 1 mm"
)
HIGHEST_LABEL = 15
"""8-bit input with no value above this is a label mask, not an image."""
AIR_HU = -1024
"""The value that padding gets."""
LOWEST_UNPADDED_HU = -1100
"""Lower values are padding around the image, e.g. -2000 or -3024, and count as air."""
LOWEST_AIR_HU = -300
"""Every chest CT contains lung or air of at most this."""
STORABLE = (-32768, 32767)  # int16
MISSING_SLICES, UNREADABLE_FILES = "missing_slices", "unreadable_files"
INCOMPLETE = (MISSING_SLICES, UNREADABLE_FILES)
"""Codes of the findings that mark a scan as incomplete."""


@dataclass(frozen=True)
class QCFinding:
    """Something unusual about a scan that matters for its results.

    Attributes:
        code: kind of the finding, e.g. ``few_slices``.
        message: one line with numbers.
    """

    code: str
    message: str


@dataclass(frozen=True)
class ReadOptions:
    """How to read files that do not describe their values.

    Attributes:
        series_uid: read only these series of DICOM folders.
        hu_offset: volumes and deep pictures hold HU plus this number; DICOM files have their own
            rescaling. Without it and without a window, pictures with more than 8 bits are refused.
        window: how 8-bit slices are made from HU; None leaves it to the models.
    """

    series_uid: tuple[str, ...] | None = None
    hu_offset: float | None = None
    window: Window | None = None


@dataclass
class Scan:
    """One scan, open for reading.

    Attributes:
        kind: ``dicom``, ``volume``, ``pictures`` or ``array``.
        files: all files of the scan.
        geometry: geometry of the input; it defines the internal shape and spacing.
        is_hu: whether :meth:`values` are HU; otherwise they are 8-bit grey, already windowed.
        window: the user's window; None leaves it to the models.
        spacing_mm: between slices (the median; None if unknown), rows and columns; None for
            pictures.
        thickness_mm: thickness of each slice for volumes; None if all have the one of
            ``spacing_mm``.
        slice_names: a unique name for each slice.
        z_mm: position of each slice along the slice axis, increasing towards the head; None for
            pictures.
        patient: DICOM PatientID, if any.
        notes: how the scan was read, one line each.
        qc: findings of the quality checks.
        dropped_slices: number of slices left out as copies of another at the same position.
        dicom_images: source image of each internal slice; None unless the input is a DICOM series
            acquired along the internal slice axis.
        nifti: header of a NIfTI file, which is copied to masks.
        read_slice: returns the internal slice at an index.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    geometry: Geometry
    is_hu: bool
    window: Window | None
    read_slice: Callable[[int], np.ndarray] = field(repr=False)
    spacing_mm: tuple[float | None, float, float] | None = None
    thickness_mm: list[float] | None = field(default=None, repr=False)
    slice_names: list[str] = field(default_factory=list, repr=False)
    z_mm: list[float] | None = field(default=None, repr=False)
    patient: str | None = None
    notes: list[str] = field(default_factory=list)
    qc: list[QCFinding] = field(default_factory=list)
    dropped_slices: int = 0
    dicom_images: list[DicomImage] | None = field(default=None, repr=False)
    nifti: NiftiHeader | None = field(default=None, repr=False)

    @property
    def incomplete(self) -> bool:
        """Whether slices are missing, as far as positions and unreadable files show."""
        return any(finding.code in INCOMPLETE for finding in self.qc)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(S, H, W)`` in the internal orientation."""
        return self.geometry.shape

    @property
    def is_oriented(self) -> bool:
        """Whether it is known where the patient's head and sides are; arrays define it."""
        return self.geometry.certain or self.kind == "array"

    def __len__(self) -> int:
        """Number of slices."""
        return self.shape[0]

    def values(self, index: int) -> np.ndarray:
        """A slice, ``(H, W)``: HU in int16 or float32, or 8-bit grey in uint8.

        Raises:
            IndexError: there is no such slice.
            DatasetError: the file cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of a scan of {len(self)}")
        return self.read_slice(index)

    def grey(self, index: int, window: Window | None = None) -> np.ndarray:
        """A slice in 8 bits at its full size, ``(H, W)`` uint8.

        Args:
            window: overrides the scan's window; if there is neither, the lung window is used.

        Raises:
            ValueError: a window for a scan that is not in HU.
            IndexError, DatasetError: as for :meth:`values`.
        """
        if not self.is_hu:
            if window is not None:
                raise ValueError(f"{self.name}: 8-bit grey is already windowed")
            return self.values(index)
        return (window or self.window or DEFAULT_WINDOW).grey(self.values(index))

    def mask_image(self, mask: np.ndarray) -> sitk.Image:
        """A mask as an image with the input's size, spacing, origin and direction.

        Args:
            mask: ``(S, H, W)`` in the internal orientation, any dtype that SimpleITK supports.

        Raises:
            ValueError: the mask has another shape.
        """
        return self.geometry.image(mask)


def place_slices(geometry: Geometry) -> dict:
    """The fields of a :class:`Scan` that follow from its geometry; slices are named by number."""
    return {
        "geometry": geometry,
        "slice_names": [f"{index:04d}" for index in range(geometry.shape[0])],
        "spacing_mm": geometry.spacing_zyx,
        "z_mm": geometry.slice_positions,
    }


class HUSlices:
    """Slices of stored values, converted to HU by an offset."""

    def __init__(self, read: Callable[[int], np.ndarray], offset: float = 0.0) -> None:
        self._read, self._offset = read, offset

    def __call__(self, index: int) -> np.ndarray:
        """HU ``(H, W)``, see :func:`to_hu`."""
        return to_hu(self._read(index), self._offset)


def to_hu(stored: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """Subtract an offset; the result is int16 if all values are whole and fit, else float32."""
    if stored.dtype.kind in "iu" and float(offset).is_integer():
        hu = stored.astype(np.int64) - int(offset)
        if hu.min() >= STORABLE[0] and hu.max() <= STORABLE[1]:
            return hu.astype(np.int16)
        return hu.astype(np.float32)
    return stored.astype(np.float32) - np.float32(offset)


def check_hu_range(path: str | Path, low: float, high: float, advice: str) -> None:
    """Refuse values that cannot be HU of a chest CT.

    HU fit into int16 (also padding of -2000 or -3024, and metal of 30000) and reach -300 or lower,
    because every chest contains lung and air. Shifted values (0 to 4095), 8-bit grey, normalised
    values and label masks do not.

    Args:
        path: for the message.
        low, high: lowest and highest value.
        advice: end of the message, what to do.

    Raises:
        DatasetError: the values cannot be HU, or are not finite.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DatasetError(NOT_FINITE.format(path=path))
    if low < STORABLE[0] or high > STORABLE[1] or low > LOWEST_AIR_HU:
        raise DatasetError(
            f"{path}: values from {low:g} to {high:g} cannot be HU of a chest CT (these reach "
            f"{LOWEST_AIR_HU} or lower and lie within {STORABLE[0]} to {STORABLE[1]}). {advice}"
        )


def check_grey_range(path: str | Path, high: float) -> None:
    """Refuse 8-bit input that is a label mask.

    Raises:
        DatasetError: no value is above 15.
    """
    if high <= HIGHEST_LABEL:
        raise DatasetError(
            f"{path}: its 8-bit values end at {high:g}: a label mask or an empty image, not a CT. "
            "Leave it out."
        )
