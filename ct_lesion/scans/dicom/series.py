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
from pydicom.uid import CTImageStorage, UID_dictionary

from ct_lesion.errors import DatasetError, reason

from ..geometry import Geometry, OrientedSlices
from ..names import unique_names
from ..quality import hu_findings, sample_indices
from ..scan import (
    AIR_HU,
    LOWEST_UNPADDED_HU,
    QCFinding,
    ReadOptions,
    Scan,
    check_hu_range,
    place_slices,
    to_hu,
)
from ..volumes.headers import check_voxels
from .acquisitions import SAME_POSITION_MM, check_one_acquisition
from .headers import SliceHeader, slice_header
from .steps import slice_thicknesses, step_findings

LEAST_TILT_DEGREES = 0.5
HIGHEST_PADDING_HU = -950


def open_series(name: str, files: tuple[Path, ...], options: ReadOptions) -> Scan:
    """Open the files of one series.

    Raises:
        DatasetError: the series is not CT, a file is damaged, slices do not fit together, or the
            values cannot be HU.
    """
    headers = sorted(map(slice_header, files), key=lambda h: (h.depth, h.path))
    _check_rescaling(headers)
    headers, duplicates = _drop_duplicates(headers)
    check_one_acquisition(headers)
    check_voxels(files[0].parent, (len(headers), *headers[0].size[::-1]), "its slices are")
    geometry = _geometry(headers)
    stored = SeriesSlices(headers)
    sampled = [stored.without_padding(index) for index in sample_indices(len(headers))]
    _check_values(files[0] if len(files) == 1 else files[0].parent, sampled, headers)
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
        patient=headers[0].patient,
        notes=[
            *duplicates,
            *_tilt_notes(headers),
        ],
        qc=[
            *step_findings([header.depth for header in headers]),
            *_padding_findings(headers),
            *hu_findings(sampled),
        ],
        dropped_slices=len(files) - len(headers),
        dicom_files=[h.path for h in internal] if internal else None,
        **fields,
    )


class SeriesSlices:
    """Slices ``(y, x)`` in HU, decoded on demand; padding is air."""

    def __init__(self, headers: list[SliceHeader]) -> None:
        self._headers = headers

    def __call__(self, z: int) -> np.ndarray:
        pixels = self._read(z)
        padding = self._padding(z, pixels)
        if padding is not None:
            pixels[padding] = AIR_HU
        return pixels

    def without_padding(self, z: int) -> np.ndarray:
        """HU of the slice's pixels that are not padding; air if there are none."""
        pixels = self._read(z)
        padding = self._padding(z, pixels)
        values = pixels.ravel() if padding is None else pixels[~padding]
        return values if values.size else np.array([AIR_HU], pixels.dtype)

    def _padding(self, z: int, pixels: np.ndarray) -> np.ndarray | None:
        limits = self._headers[z].padding
        return None if limits is None else (pixels >= limits[0]) & (pixels <= limits[1])

    def _read(self, z: int) -> np.ndarray:
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
        raise DatasetError(
            f"{path}: pixels cannot be decoded ({reason(error)}){_unknown_class(path)}."
        ) from None
    if values.ndim != 2:
        raise DatasetError(f"{path}: a colour or multi-frame image, not a CT slice.")
    return to_hu(values)


def _decode(path: Path) -> np.ndarray:
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _unknown_class(path: Path) -> str:
    """Explains why GDCM does not decode a file whose SOPClassUID an anonymiser replaced."""
    sop_class = pydicom.dcmread(path, force=True, specific_tags=["SOPClassUID"]).get("SOPClassUID")
    if not sop_class or sop_class in UID_dictionary:
        return ""
    return (
        f"; its SOPClassUID {sop_class} is not a known class of images, an anonymiser may have "
        f"replaced it: set it to CT Image Storage, {CTImageStorage}"
    )


def _check_rescaling(headers: list[SliceHeader]) -> None:
    """Refuse a series in which only some files have a rescale tag.

    Raises:
        DatasetError: names files without it.
    """
    for index, tag in enumerate(("RescaleSlope", "RescaleIntercept")):
        without = [header.path for header in headers if not header.rescaled[index]]
        if without and len(without) < len(headers):
            others = ", ".join(path.name for path in without[1:3])
            others += ", ..." if len(without) > 3 else ""
            raise DatasetError(
                f"{without[0]}{f' (and {others})' if others else ''}: no {tag}, but the other "
                f"{len(headers) - len(without)} files of the series have it. Copy the tag from "
                "them if the files come from one reconstruction."
            )


def _check_values(place: Path, sampled: list[np.ndarray], headers: list[SliceHeader]) -> None:
    """Refuse values that cannot be HU, whatever their padding is."""
    advice = "Rescale slope and intercept of this series are missing or wrong"
    if any(header.padding is not None for header in headers):
        advice += "; pixels of PixelPaddingValue are not among these values."
    else:
        advice += ", or padding around the image is not declared by PixelPaddingValue."
    values = np.concatenate(sampled)
    inside = values[values >= LOWEST_UNPADDED_HU]
    for some in (values, inside if inside.size else values):
        check_hu_range(place, float(some.min()), float(some.max()), advice)


def _padding_findings(headers: list[SliceHeader]) -> list[QCFinding]:
    """A finding if values that tissue has are declared as padding."""
    inside = {h.padding for h in headers if h.padding and h.padding[1] > HIGHEST_PADDING_HU}
    if not inside:
        return []
    low, high = min(low for low, _ in inside), max(high for _, high in inside)
    return [
        QCFinding(
            "padding",
            f"PixelPaddingValue declares values from {low:.0f} to {high:.0f} HU as padding, so "
            "these pixels count as air, also within the body",
        )
    ]


def _drop_duplicates(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """Drop copies of slices; the notes say how many.

    Raises:
        DatasetError: two slices at the same position differ, so they are of two acquisitions.
    """
    kept = [headers[0]]
    for header in headers[1:]:
        before = kept[-1]
        if header.depth - before.depth > SAME_POSITION_MM:
            kept.append(header)
        elif not np.array_equal(*(read_hu(h.path, h.inverted) for h in (header, before))):
            raise DatasetError(
                f"{header.path}: at the position of {before.path.name} of the same series, with "
                "other pixels, and no tag tells the acquisitions apart. Put the files of each "
                "acquisition into a separate folder."
            )
    dropped = len(headers) - len(kept)
    if not dropped:
        return kept, []
    return kept, [
        f"{dropped} duplicate slices at the position of another, all with identical pixels, were "
        "left out"
    ]


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
