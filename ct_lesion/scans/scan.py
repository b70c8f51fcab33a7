"""A chest CT scan, whatever file it came from: slices in one orientation, in HU or 8-bit grey.

S slices, H x W pixels; slice 0 is nearest the feet, rows run to the back, columns to the patient's
left (see :mod:`ct_lesion.scans.geometry`). Slices are read when they are asked for, by
several threads if need be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import DatasetError

from .geometry import Geometry, Vector
from .nifti_checks import NOT_FINITE
from .windows import WINDOWS, Window, window_to_uint8

DEFAULT_WINDOW = WINDOWS["lung"]
HU_NOTE = (
    "HU to 8 bits by the window {window}; the window of CNCB's own images is not published, so a "
    "network trained on those may have seen another"
)
GREY_NOTE = (
    "8-bit images, taken as windowed already; the window of CNCB's own images is not published"
)
NO_GEOMETRY_NOTE = (
    "no geometry in these files: slices in the order of their names, masks are written with a "
    "spacing of 1 mm that means nothing"
)
HIGHEST_LABEL = 15
"""8-bit input without a higher value is a label mask, not an image."""
LOWEST_AIR_HU = -300
"""Every chest CT has lung or air below this."""
STORABLE = (-32768, 32767)


@dataclass(frozen=True)
class QCFinding:
    """Something about a scan that a reader of its results should know.

    Attributes:
        code: e.g. ``few_slices``; the same for the same finding.
        message: one line with numbers.
    """

    code: str
    message: str


@dataclass(frozen=True)
class ReadOptions:
    """How to read what does not say so itself.

    Attributes:
        series_uid: of a DICOM folder, this series only.
        hu_offset: 16-bit or float pictures, and volumes, hold HU plus this number. None: not said,
            so that pictures of more than 8 bits are refused. DICOM says it itself.
        window: for HU; None is the lung window.
    """

    series_uid: str | None = None
    hu_offset: float | None = None
    window: Window | None = None


@dataclass
class Scan:
    """One scan, open for reading.

    Attributes:
        kind: ``dicom``, ``volume``, ``pictures`` or ``array``.
        files: all files of it.
        geometry: of the input; internal shape and spacing come from it.
        is_hu: whether :meth:`values` are HU; else they are 8-bit grey, windowed already.
        window: the one that :meth:`grey` uses; None for 8-bit input.
        spacing_mm: between slices, rows and columns; None for pictures.
        slice_names: one a slice, all different.
        z_mm: place of each slice along the slice axis, growing to the head; None for pictures.
        patient: the DICOM patient id, if any.
        notes: how the scan was read, one line each.
        qc: what is unusual about it.
        dicom_files: the source file of each internal slice; None unless the input is a DICOM
            series whose own slices are the internal ones.
        read_slice: gives an internal slice by its index.
    """

    name: str
    kind: str
    files: tuple[Path, ...]
    geometry: Geometry
    is_hu: bool
    window: Window | None
    read_slice: Callable[[int], np.ndarray] = field(repr=False)
    spacing_mm: Vector | None = None
    slice_names: list[str] = field(default_factory=list, repr=False)
    z_mm: list[float] | None = field(default=None, repr=False)
    patient: str | None = None
    notes: list[str] = field(default_factory=list)
    qc: list[QCFinding] = field(default_factory=list)
    dicom_files: list[Path] | None = field(default=None, repr=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(S, H, W)`` in the internal orientation."""
        return self.geometry.shape

    def __len__(self) -> int:
        """Number of slices."""
        return self.shape[0]

    def values(self, index: int) -> np.ndarray:
        """A slice, ``(H, W)``: HU in int16 or float32, or 8-bit grey in uint8.

        Raises:
            IndexError: there is no such slice.
            DatasetError: its file cannot be read any more.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of a scan of {len(self)}")
        return self.read_slice(index)

    def grey(self, index: int, window: Window | None = None) -> np.ndarray:
        """A slice as the network reads it, ``(H, W)`` uint8.

        Args:
            window: another window than the scan's own.

        Raises:
            ValueError: a window for a scan that is not in HU.
            IndexError, DatasetError: as for :meth:`values`.
        """
        if not self.is_hu:
            if window is not None:
                raise ValueError(f"{self.name}: 8-bit grey, which takes no window any more")
            return self.values(index)
        return window_to_uint8(self.values(index), *(window or self.window or DEFAULT_WINDOW))

    def mask_image(self, mask: np.ndarray) -> sitk.Image:
        """A mask in the input's own geometry: its size, spacing, origin and direction.

        Args:
            mask: ``(S, H, W)`` in the internal orientation, any dtype SimpleITK has.

        Raises:
            ValueError: a mask of another shape.
        """
        return self.geometry.image(mask)


def place_slices(geometry: Geometry) -> dict:
    """The fields of a :class:`Scan` that a known geometry fixes."""
    return {
        "geometry": geometry,
        "spacing_mm": geometry.spacing_zyx,
        "z_mm": geometry.slice_positions,
    }


def check_hu_range(path: str | Path, low: float, high: float, advice: str) -> None:
    """Refuse values that cannot be HU of a chest CT.

    They lie in -32768..32767 (padding of -2000 or -3024 and metal of 30000 do) and reach down to
    -300 or lower, since lung and air do in every chest. Shifted values (0..4095), 8-bit grey,
    normalised values and label masks do not.

    Args:
        path: for the message.
        low, high: extremes of the values.
        advice: what to do, for the message.

    Raises:
        DatasetError: states the range.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DatasetError(NOT_FINITE.format(path=path))
    if low < STORABLE[0] or high > STORABLE[1] or low > LOWEST_AIR_HU:
        raise DatasetError(
            f"{path}: values from {low:g} to {high:g} cannot be HU of a chest CT (lowest at most "
            f"{LOWEST_AIR_HU}, all within {STORABLE[0]} to {STORABLE[1]}). {advice}"
        )


def check_grey_range(path: str | Path, high: float) -> None:
    """Refuse 8-bit input that is a label mask.

    Raises:
        DatasetError: no value above 15.
    """
    if high <= HIGHEST_LABEL:
        raise DatasetError(
            f"{path}: 8-bit values up to {high:g} only: a label mask or an empty image, no CT."
        )
