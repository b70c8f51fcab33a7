"""Reading a scan from a DICOM series with one file a slice.

SimpleITK (GDCM) decodes the pixels, including compressed transfer syntaxes, and applies the rescale
slope and intercept. Slices are decoded on demand, so memory does not grow with their number.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from ct_lesion.errors import DatasetError, reason

from ..geometry import Geometry, OrientedSlices
from ..names import unique_names
from ..quality import sampled_range
from ..scan import (
    ReadOptions,
    Scan,
    check_hu_range,
    place_slices,
    to_hu,
)
from .headers import SliceHeader, group_series, patient_of, slice_header
from .steps import slice_thicknesses, step_findings

SAME_POSITION_MM = 0.02
LEAST_TILT_DEGREES = 0.5


def open_series(name: str, files: tuple[Path, ...], options: ReadOptions) -> Scan:
    """Open the files of one series.

    Raises:
        DatasetError: the series is not CT, a file is damaged, slices do not fit together, or the
            values cannot be HU.
    """
    series, notes = group_series(files)
    faults = [
        s.fault if str(s.files[0]) in s.fault else f"{s.files[0]}: {s.fault}."
        for s in series
        if s.fault
    ]
    if faults:
        raise DatasetError(faults[0])
    headers = _in_order([slice_header(path) for path in series[0].files])
    count = len(headers)
    headers, duplicates = _drop_duplicates(headers)
    geometry = _geometry(headers)
    stored = SeriesSlices(headers)
    check_hu_range(
        files[0] if len(files) == 1 else files[0].parent,
        *sampled_range(stored, len(headers)),
        "Rescale slope and intercept of this series are missing or wrong.",
    )
    axial = geometry.acquired_axially
    internal = [headers[geometry.input_slice(i)] for i in range(len(headers))] if axial else None
    fields = place_slices(geometry)
    if internal:
        fields["slice_names"] = unique_names(h.path.stem for h in internal)
        fields["z_mm"] = [float(np.dot(geometry.slice_normal, h.position)) for h in internal]
    fields |= _sizes(headers, geometry)
    return Scan(
        name=name,
        kind="dicom",
        files=files,
        is_hu=True,
        window=options.window,
        read_slice=OrientedSlices(geometry, stored),
        patient=patient_of(headers[0].path),
        notes=[
            *notes,
            *duplicates,
            *_tilt_notes(headers),
        ],
        qc=step_findings([header.depth for header in headers]),
        dropped_slices=count - len(headers),
        dicom_files=[h.path for h in internal] if internal else None,
        **fields,
    )


class SeriesSlices:
    """Slices ``(y, x)`` in HU, decoded on demand."""

    def __init__(self, headers: list[SliceHeader]) -> None:
        self._headers = headers

    def __call__(self, z: int) -> np.ndarray:
        header = self._headers[z]
        pixels = read_hu(header.path, header.inverted)
        if pixels.shape != header.size[::-1]:
            raise DatasetError(
                f"{header.path}: contains {pixels.shape[1]} x {pixels.shape[0]} pixels, but its "
                f"tags say {header.size[0]} x {header.size[1]}."
            )
        return pixels


def read_hu(path: Path, inverted: bool = False) -> np.ndarray:
    """Read one DICOM file in HU, ``(H, W)``: int16 if all values are whole and fit, else float32.

    Args:
        inverted: the file is MONOCHROME1. This only affects display: HU are the rescaled stored
            values as in MONOCHROME2. GDCM would invert them, so it gets a MONOCHROME2 copy.

    Raises:
        DatasetError: the pixels cannot be decoded.
    """
    try:
        if inverted:
            with tempfile.TemporaryDirectory() as folder:
                plain = Path(folder) / "slice.dcm"
                dataset = pydicom.dcmread(path, force=True)
                dataset.PhotometricInterpretation = "MONOCHROME2"
                dataset.save_as(plain)
                values = _decode(plain)
        else:
            values = _decode(path)
    except Exception as error:  # damaged bytes can raise anything
        raise DatasetError(f"{path}: pixels cannot be decoded ({reason(error)}).") from None
    if values.ndim != 2:
        raise DatasetError(f"{path}: a colour or multi-frame image, not a CT slice.")
    return to_hu(values)


def _decode(path: Path) -> np.ndarray:
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _in_order(headers: list[SliceHeader]) -> list[SliceHeader]:
    """Sort slices along their normal, after checking that they fit together."""
    first = headers[0]
    for header in headers:
        if header.size != first.size:
            raise DatasetError(
                f"{header.path}: {header.size[0]} x {header.size[1]} pixels, but "
                f"{first.path.name} of the same series has {first.size[0]} x {first.size[1]}."
            )
        turned = max(
            np.abs(header.row - first.row).max(), np.abs(header.column - first.column).max()
        )
        if turned > 1e-2:
            raise DatasetError(
                f"{header.path}: its orientation differs from {first.path.name} of the same series."
            )
        if not _same_spacing(header, first):
            raise DatasetError(
                f"{header.path}: its pixel spacing differs from {first.path.name} of the same "
                "series."
            )
    return sorted(headers, key=lambda h: (round(h.depth, 2), h.instance, h.path))


def _same_spacing(a: SliceHeader, b: SliceHeader) -> bool:
    if a.pixel_spacing is None or b.pixel_spacing is None:
        return a.pixel_spacing is b.pixel_spacing
    return np.allclose(a.pixel_spacing, b.pixel_spacing, rtol=1e-4)


def _drop_duplicates(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """Keep one slice at each position; the notes say what was dropped."""
    kept, differing = [headers[0]], 0
    for header in headers[1:]:
        if header.depth - kept[-1].depth > SAME_POSITION_MM:
            kept.append(header)
            continue
        pixels = [read_hu(h.path, h.inverted) for h in (header, kept[-1])]
        differing += not np.array_equal(*pixels)
    notes = []
    if dropped := len(headers) - len(kept):
        what = f"{differing} with different pixels" if differing else "all with identical pixels"
        warning = "warning: " if differing else ""
        notes.append(
            f"{warning}{dropped} duplicate slices at the position of another, {what}; the one with "
            "the lowest instance number was kept"
        )
    return kept, notes


def _geometry(headers: list[SliceHeader]) -> Geometry:
    """The grid of the series; if steps differ, with the mean step, as SimpleITK does."""
    first = headers[0]
    rows, columns = first.pixel_spacing or (1.0, 1.0)
    if len(headers) > 1:
        step = (headers[-1].depth - first.depth) / (len(headers) - 1)
    else:
        step = first.thickness or 1.0
    normal = np.cross(first.row, first.column)
    direction = np.stack([first.row, first.column, normal], axis=1)
    return Geometry(
        (*first.size, len(headers)),
        (columns, rows, step),
        tuple(float(x) for x in first.position),
        tuple(float(x) for x in direction.ravel()),
    )


def _sizes(headers: list[SliceHeader], geometry: Geometry) -> dict:
    """``spacing_mm`` and ``thickness_mm`` of the scan."""
    depths = [header.depth for header in headers]
    _, rows, columns = geometry.spacing_zyx
    if headers[0].pixel_spacing is None:
        return {"spacing_mm": None}
    if not geometry.acquired_axially:
        # uneven steps lie within the internal slices, so even their areas are unknown
        return {"spacing_mm": None} if step_findings(depths) else {}
    if len(headers) == 1:
        return {"spacing_mm": (headers[0].thickness, rows, columns)}
    thicknesses = slice_thicknesses(depths)
    return {
        "spacing_mm": (float(np.median(np.diff(depths))), rows, columns),
        "thickness_mm": thicknesses[:: -1 if geometry.flips[2] else 1],
    }


def _tilt_notes(headers: list[SliceHeader]) -> list[str]:
    """A warning if slices are sheared against each other, which a regular grid cannot represent."""
    shift = headers[-1].position - headers[0].position
    length = float(np.linalg.norm(shift))
    depth = headers[-1].depth - headers[0].depth
    sheared = np.degrees(np.arccos(np.clip(depth / length, -1, 1))) if length else 0.0
    tilt = max(float(sheared), 0.0 if length else abs(headers[0].tilt_degrees))
    if tilt <= LEAST_TILT_DEGREES:
        return []
    return [
        f"warning: gantry tilt of {tilt:.1f} degrees: slices are sheared against each other, but a "
        "mask volume has a straight grid, so its slices are shifted against the patient"
    ]
