"""Reading a scan from a DICOM series, one file a slice.

Pixels are decoded by SimpleITK (GDCM), which knows the compressed transfer syntaxes and applies
rescale slope and intercept. It is read slice by slice, so memory does not grow with its length.
"""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from ct_lesion.errors import DatasetError, reason

from ..geometry import Geometry, OrientedSlices
from ..names import unique_names
from ..quality import sample_indices
from ..scan import (
    DEFAULT_WINDOW,
    HU_NOTE,
    STORABLE,
    QCFinding,
    ReadOptions,
    Scan,
    check_hu_range,
    place_slices,
)
from .headers import SliceHeader, group_series, patient_of, slice_header

SAME_POSITION_MM = 0.02
UNEVEN = 0.05  # of the usual step
LEAST_TILT_DEGREES = 0.5


def open_series(name: str, files: tuple[Path, ...], options: ReadOptions) -> Scan:
    """Open the files of one series.

    Raises:
        DatasetError: no CT, a damaged file, slices that do not belong together, or values that
            cannot be HU.
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
    headers, duplicates = _drop_duplicates(headers)
    geometry, irregular = _geometry(headers)
    window = options.window or DEFAULT_WINDOW
    stored = SeriesSlices(headers)
    _check_values(files[0] if len(files) == 1 else files[0].parent, stored, len(headers))
    axial = geometry.acquired_axially
    internal = [headers[geometry.input_slice(i)] for i in range(len(headers))] if axial else None
    count = geometry.shape[0]
    fields = place_slices(geometry)
    if internal:
        fields["z_mm"] = [float(np.dot(geometry.slice_normal, h.position)) for h in internal]
        if len(internal) > 2:
            fields["spacing_mm"] = (_usual_step(headers), *geometry.spacing_zyx[1:])
    if headers[0].pixel_spacing is None:
        fields["spacing_mm"] = None
    names = [h.path.stem for h in internal] if internal else [f"{i:04d}" for i in range(count)]
    return Scan(
        name=name,
        kind="dicom",
        files=files,
        is_hu=True,
        window=window,
        read_slice=OrientedSlices(geometry, stored),
        slice_names=unique_names(names),
        patient=patient_of(headers[0].path),
        notes=[
            *notes,
            *duplicates,
            *_tilt_notes(headers),
            HU_NOTE.format(window=window.label),
        ],
        qc=irregular,
        dicom_files=[h.path for h in internal] if internal else None,
        **fields,
    )


class SeriesSlices:
    """Slices ``(y, x)`` of HU, decoded when they are asked for."""

    def __init__(self, headers: list[SliceHeader]) -> None:
        self._headers = headers

    def __call__(self, z: int) -> np.ndarray:
        header = self._headers[z]
        pixels = read_hu(header.path, header.inverted)
        if pixels.shape != header.size[::-1]:
            raise DatasetError(
                f"{header.path}: holds {pixels.shape[1]} x {pixels.shape[0]} pixels, but its tags "
                f"say {header.size[0]} x {header.size[1]}."
            )
        return pixels


def read_hu(path: Path, inverted: bool = False) -> np.ndarray:
    """HU of one DICOM file, ``(H, W)``: int16 where they are whole numbers and fit, else float32.

    Args:
        inverted: MONOCHROME1. That only says how to show the values; the HU are the rescaled stored
            values all the same. GDCM inverts these, so it is given the file as MONOCHROME2.

    Raises:
        DatasetError: it cannot be decoded.
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
    except Exception as error:  # damaged bytes fail anywhere, in any way
        raise DatasetError(f"{path}: pixels cannot be decoded ({reason(error)}).") from None
    if values.ndim != 2:
        raise DatasetError(f"{path}: a colour or multi-frame image, not a CT slice.")
    if values.dtype.kind in "iu" and values.min() >= STORABLE[0] and values.max() <= STORABLE[1]:
        return values.astype(np.int16)
    return values.astype(np.float32)


def _decode(path: Path) -> np.ndarray:
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _in_order(headers: list[SliceHeader]) -> list[SliceHeader]:
    """Along the normal of the slices, after checking that they belong together."""
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
                f"{header.path}: another orientation than {first.path.name} of the same series."
            )
        if not _same_spacing(header, first):
            raise DatasetError(
                f"{header.path}: another pixel spacing than {first.path.name} of the same series."
            )
    return sorted(headers, key=lambda h: (round(h.depth, 2), h.instance, h.path))


def _same_spacing(a: SliceHeader, b: SliceHeader) -> bool:
    if a.pixel_spacing is None or b.pixel_spacing is None:
        return a.pixel_spacing is b.pixel_spacing
    return np.allclose(a.pixel_spacing, b.pixel_spacing, rtol=1e-4)


def _drop_duplicates(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """One slice at each position, and what was dropped."""
    kept, differing = [headers[0]], 0
    for header in headers[1:]:
        if header.depth - kept[-1].depth > SAME_POSITION_MM:
            kept.append(header)
            continue
        pixels = [read_hu(h.path, h.inverted) for h in (header, kept[-1])]
        differing += not np.array_equal(*pixels)
    notes = []
    if dropped := len(headers) - len(kept):
        what = f"{differing} of them with other pixels" if differing else "all with the same pixels"
        warning = "warning: " if differing else ""
        notes.append(
            f"{warning}{dropped} slices lie where another does, {what}; the one with the lowest "
            "instance number was kept"
        )
    return kept, notes


def _usual_step(headers: list[SliceHeader]) -> float:
    return float(np.median([b.depth - a.depth for a, b in pairwise(headers)]))


def _geometry(headers: list[SliceHeader]) -> tuple[Geometry, list[QCFinding]]:
    """The grid of the series, with the mean step where steps differ, as SimpleITK makes it."""
    first, findings = headers[0], []
    rows, columns = first.pixel_spacing or (1.0, 1.0)
    if len(headers) > 1:
        step = (headers[-1].depth - first.depth) / (len(headers) - 1)
        findings = _uneven_steps(headers)
    else:
        step = first.thickness or 1.0
    normal = np.cross(first.row, first.column)
    direction = np.stack([first.row, first.column, normal], axis=1)
    geometry = Geometry(
        (*first.size, len(headers)),
        (columns, rows, step),
        tuple(float(x) for x in first.position),
        tuple(float(x) for x in direction.ravel()),
    )
    return geometry, findings


def _uneven_steps(headers: list[SliceHeader]) -> list[QCFinding]:
    usual = _usual_step(headers)
    steps = [b.depth - a.depth for a, b in pairwise(headers)]
    uneven = [step for step in steps if abs(step - usual) > UNEVEN * usual]
    missing = sum(round(step / usual) - 1 for step in steps if step > 1.5 * usual)
    if missing:
        return [
            QCFinding(
                "missing_slices",
                f"{missing} slices seem to be missing: {len(uneven)} steps of up to "
                f"{max(steps):.2f} mm where {usual:.2f} mm is usual",
            )
        ]
    if uneven:
        return [
            QCFinding(
                "uneven_slices",
                f"{len(uneven)} of {len(steps)} steps between slices differ: {min(steps):.2f} to "
                f"{max(steps):.2f} mm, usually {usual:.2f} mm",
            )
        ]
    return []


def _tilt_notes(headers: list[SliceHeader]) -> list[str]:
    """A warning where slices are sheared against each other, which a regular grid cannot hold."""
    shift = headers[-1].position - headers[0].position
    length = float(np.linalg.norm(shift))
    depth = headers[-1].depth - headers[0].depth
    sheared = np.degrees(np.arccos(np.clip(depth / length, -1, 1))) if length else 0.0
    tilt = max(float(sheared), 0.0 if length else abs(headers[0].tilt_degrees))
    if tilt <= LEAST_TILT_DEGREES:
        return []
    return [
        f"warning: gantry tilt of {tilt:.1f} degrees: slices are sheared against each other, and a "
        "mask volume, whose grid is straight, is off by that between its ends"
    ]


def _check_values(place: Path, read: SeriesSlices, count: int) -> None:
    sampled = [read(z) for z in sample_indices(count)]
    check_hu_range(
        place,
        float(min(pixels.min() for pixels in sampled)),
        float(max(pixels.max() for pixels in sampled)),
        "Rescale slope and intercept of this series are missing or wrong.",
    )
