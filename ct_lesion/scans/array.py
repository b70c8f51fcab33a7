"""Scans from arrays in memory, for users of the Python API."""

from __future__ import annotations

import numpy as np

from ct_lesion.errors import DatasetError

from .geometry import Geometry, Vector
from .quality import check_scan
from .scan import (
    GREY_NOTE,
    NO_GEOMETRY_NOTE,
    HUSlices,
    Scan,
    check_grey_range,
    check_hu_range,
    place_slices,
)
from .windows import Window


def scan_from_array(
    values: np.ndarray,
    *,
    spacing_mm: Vector | None = None,
    is_hu: bool | None = None,
    window: Window | None = None,
    name: str = "array",
) -> Scan:
    """Wrap an array as a scan, without copying it.

    Args:
        values: ``(S, H, W)``, slice 0 nearest the feet, rows to the back, columns to the patient's
            left. uint8 counts as grey, already windowed; other types must be declared as HU.
        spacing_mm: between slices, rows and columns.
        is_hu: True declares HU; without it, only uint8 values are accepted, unless there is a
            ``window``.
        window: how 8-bit slices are made from HU; None leaves it to the models. A window also
            declares that the values are HU.

    Raises:
        DatasetError: the array does not have three dimensions, is not declared as HU, or its
            values cannot be HU.
    """
    values = np.asarray(values)
    if values.ndim != 3 or 0 in values.shape or values.dtype.kind not in "iuf":
        raise DatasetError(
            f"an array of shape {values.shape}, {values.dtype}: expected numbers (S, H, W)."
        )
    grey = values.dtype == np.uint8 and not is_hu and window is None
    if not grey and not is_hu and (is_hu is False or window is None):
        raise DatasetError(
            f"an array of {values.dtype}: pass is_hu=True if it holds HU, or window it to uint8."
        )
    low, high = float(values.min()), float(values.max())
    if grey:
        check_grey_range(name, high)
    else:
        check_hu_range(name, low, high, "Convert the values to HU first.")
    geometry = Geometry.without_position(values.shape, spacing_mm or (1.0, 1.0, 1.0))
    scan = Scan(
        name=name,
        kind="array",
        files=(),
        is_hu=not grey,
        window=window,
        read_slice=values.__getitem__ if grey else HUSlices(values.__getitem__),
        notes=[GREY_NOTE] if grey else [],
        **place_slices(geometry),
    )
    if spacing_mm is None:
        scan.spacing_mm = scan.z_mm = None
        scan.notes.append(NO_GEOMETRY_NOTE)
    scan.qc.extend(check_scan(scan))
    return scan
