"""Reading a scan from a DICOM series: one file per slice, or frames of enhanced files.

Slices are decoded on demand, so memory does not grow with their number.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError

from ..geometry import Geometry, OrientedSlices
from ..names import unique_names
from ..quality import hu_findings, sample_indices
from ..scan import (
    LOWEST_UNPADDED_HU,
    QCFinding,
    ReadOptions,
    Scan,
    check_hu_range,
    place_slices,
)
from ..volumes.headers import check_voxels
from .acquisitions import SAME_POSITION_MM, check_one_acquisition
from .headers import SliceHeader, slice_headers
from .images import DicomImage, files_of
from .pixels import PixelReader, SeriesSlices
from .steps import slice_thicknesses, step_findings

LEAST_TILT_DEGREES = 0.5
HIGHEST_PADDING_HU = -950


def series_headers(images: tuple[DicomImage, ...]) -> list[SliceHeader]:
    """The checked headers of a series, sorted by position, with copies at the same position.

    Raises:
        DatasetError: a file is damaged, or slices do not fit together.
    """
    headers = sorted(slice_headers(images), key=lambda h: (h.depth, h.image))
    _check_rescaling(headers)
    place = images[0].path.parent
    check_voxels(place, (len(headers), *headers[0].size[::-1]), "its slices are")
    return headers


def open_series(name: str, images: tuple[DicomImage, ...], options: ReadOptions) -> Scan:
    """Open the images of one series.

    Raises:
        DatasetError: the series is not CT, a file is damaged, slices do not fit together, or the
            values cannot be HU.
    """
    files = files_of(images)
    headers, duplicates = _drop_duplicates(series_headers(images))
    check_one_acquisition(headers)
    geometry = _geometry(headers)
    stored = SeriesSlices(headers)
    sampled = [stored.without_padding(index) for index in sample_indices(len(headers))]
    _check_values(files[0] if len(files) == 1 else files[0].parent, sampled, headers)
    axial = geometry.acquired_axially
    internal = [headers[geometry.input_slice(i)] for i in range(len(headers))] if axial else None
    fields = place_slices(geometry)
    if internal:
        fields["slice_names"] = unique_names(h.image.stem for h in internal)
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
            *_rescale_type_findings(headers),
            *_padding_findings(headers),
            *hu_findings(sampled),
        ],
        dropped_slices=len(images) - len(headers),
        dicom_images=[h.image for h in internal] if internal else None,
        **fields,
    )


def _check_rescaling(headers: list[SliceHeader]) -> None:
    """Refuse a series in which only some files have a rescale tag.

    Raises:
        DatasetError: the message names files without the tag.
    """
    for index, tag in enumerate(("RescaleSlope", "RescaleIntercept")):
        without = [header.image for header in headers if not header.rescaled[index]]
        if without and len(without) < len(headers):
            others = ", ".join(image.name for image in without[1:3])
            others += ", ..." if len(without) > 3 else ""
            raise DatasetError(
                f"{without[0]}{f' (and {others})' if others else ''} has no {tag}, but the other "
                f"{len(headers) - len(without)} files of the series have it. Copy the tag from "
                "them if the files come from one reconstruction."
            )


def _check_values(place: Path, sampled: list[np.ndarray], headers: list[SliceHeader]) -> None:
    """Refuse values that cannot be HU, with and without undeclared padding."""
    advice = "Rescale slope and intercept of this series are missing or wrong"
    if any(header.padding is not None for header in headers):
        advice += "; pixels of PixelPaddingValue are not among these values."
    else:
        advice += ", or padding around the image is not declared by PixelPaddingValue."
    advice += " Correct these tags."
    values = np.concatenate(sampled)
    inside = values[values >= LOWEST_UNPADDED_HU]
    for some in (values, inside if inside.size else values):
        check_hu_range(place, float(some.min()), float(some.max()), advice)


def _rescale_type_findings(headers: list[SliceHeader]) -> list[QCFinding]:
    """A finding if the rescaled values are declared as something other than HU."""
    others = sorted({h.rescale_type for h in headers} - {"", "HU", "US"})  # US: unspecified
    if not others:
        return []
    return [
        QCFinding(
            "rescale_type",
            f"RescaleType is {', '.join(others)[:40]}, not HU: the values may be another quantity, "
            "e.g. a material density",
        )
    ]


def _padding_findings(headers: list[SliceHeader]) -> list[QCFinding]:
    """A finding if values of tissue are declared as padding."""
    inside = {h.padding for h in headers if h.padding and h.padding[1] > HIGHEST_PADDING_HU}
    if not inside:
        return []
    low, high = min(low for low, _ in inside), max(high for _, high in inside)
    return [
        QCFinding(
            "padding",
            f"PixelPaddingValue declares values from {low:.0f} to {high:.0f} HU as padding, so "
            "these pixels count as air, even within the body",
        )
    ]


def _drop_duplicates(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[str]]:
    """Drop copies of slices, with a note that says how many.

    Raises:
        DatasetError: two slices at one position differ, so they belong to different acquisitions.
    """
    kept, reader = [headers[0]], PixelReader()
    for header in headers[1:]:
        before = kept[-1]
        if header.depth - before.depth > SAME_POSITION_MM:
            kept.append(header)
        elif not np.array_equal(*map(reader.read_hu, (header, before))):
            raise DatasetError(
                f"{header.image} has the position of {before.image.name} of the same series, but "
                "other pixels, and no tag tells the acquisitions apart. Put the files of each "
                "acquisition into a separate folder."
            )
    dropped = len(headers) - len(kept)
    if not dropped:
        return kept, []
    return kept, [
        f"left out {dropped} duplicate slices at the position of another, all with identical pixels"
    ]


def _geometry(headers: list[SliceHeader]) -> Geometry:
    """The grid of a series, with the mean step if steps differ, as in SimpleITK."""
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
        # uneven steps are within the internal slices, so even their areas are unknown
        return {"spacing_mm": None} if step_findings(depths) else {}
    if len(headers) == 1:
        return {"spacing_mm": (headers[0].thickness, rows, columns)}
    thicknesses = slice_thicknesses(depths)
    return {
        "spacing_mm": (float(np.median(np.diff(depths))), rows, columns),
        "thickness_mm": thicknesses[:: -1 if geometry.flips[2] else 1],
    }


def _tilt_notes(headers: list[SliceHeader]) -> list[str]:
    """A warning if slices are shifted against each other, which a regular grid cannot represent."""
    shift = headers[-1].position - headers[0].position
    length = float(np.linalg.norm(shift))
    depth = headers[-1].depth - headers[0].depth
    sheared = np.degrees(np.arccos(np.clip(depth / length, -1, 1))) if length else 0.0
    tilt = max(float(sheared), 0.0 if length else abs(headers[0].tilt_degrees))
    if tilt <= LEAST_TILT_DEGREES:
        return []
    return [
        f"warning: gantry tilt of {tilt:.1f} degrees: slices are shifted against each other, but a "
        "mask volume has a straight grid, so its slices are shifted against the patient"
    ]
