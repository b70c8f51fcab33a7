"""Listing the DICOM series in the inputs and whether each is accepted, from headers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError

from .dicom.acquisitions import check_one_acquisition, distinct
from .dicom.grouping import DicomSeries, group_series
from .dicom.headers import slice_thickness
from .dicom.series import series_headers
from .dicom.values import text_of
from .inputs import FoundFiles, take_input
from .names import some_names

_MISSING = "-"
_COLUMNS = ("series", "slices", "step", "thickness", "pixels", "kernel", "patient", "description")


@dataclass(frozen=True)
class ListedSeries:
    """A DICOM series, or a part of a series that is read as a separate scan.

    Attributes:
        number: SeriesNumber; empty if missing.
        uid: SeriesInstanceUID; empty if missing.
        place: the folder or zip of its files.
        files: number of files.
        slices: number of images, including copies of slices.
        step_mm: median distance between neighbouring slices.
        thickness_mm: SliceThickness.
        pixel_mm: spacing between rows and between columns.
        kernel: ConvolutionKernel; empty if missing.
        patient: PatientID; empty if missing.
        refused: why it is not read as a scan; None if it is accepted by its headers.
    """

    number: str
    uid: str
    description: str
    place: str
    files: int
    slices: int
    step_mm: float | None
    thickness_mm: float | None
    pixel_mm: tuple[float, float] | None
    kernel: str
    patient: str
    refused: str | None


@dataclass(frozen=True)
class Listing:
    """The series and other scans in the inputs.

    Attributes:
        others: scans of other kinds: volume files, and folders of pictures.
        notes: a line for each kind of file that was skipped or cannot be read.
    """

    series: list[ListedSeries]
    others: list[str]
    notes: list[str]

    def as_dict(self) -> dict:
        """JSON-ready."""
        return asdict(self)


def list_series(inputs: Sequence[str | Path]) -> Listing:
    """List the series in files, folders, zips and glob patterns.

    Raises:
        DatasetError: an input does not exist or cannot be used, or no input holds a scan.
    """
    found = FoundFiles()
    for item in inputs:
        take_input(str(item), found)
    series, unreadable, notes = group_series(found.dicom)
    notes = [*found.notes, *notes]
    if unreadable:
        first, names = next(iter(unreadable.values())), some_names([*unreadable])
        notes.append(f"{len(unreadable)} files cannot be read: {names}. {first}")
    folders = dict.fromkeys(path.parent for path in found.pictures)
    others = [*map(str, found.volumes), *(f"{folder}: pictures" for folder in folders)]
    if not (series or unreadable or others):
        what = ", ".join(map(str, inputs))
        raise DatasetError(f"{what}: no scan found. Give DICOM files, folders or zips of them.")
    return Listing([_listed(one) for one in series], others, notes)


def _listed(series: DicomSeries) -> ListedSeries:
    refused, step, thickness, pixels = series.fault, None, None, None
    if refused is None:
        try:
            headers = series_headers(series.images)
            pixels = headers[0].pixel_spacing
            depths = distinct(np.array([header.depth for header in headers]))
            step = float(np.median(np.diff(depths))) if len(depths) > 1 else None
            thickness = slice_thickness(headers[0].tags)
            if len(depths) == len(headers):  # otherwise only the pixels show which are copies
                check_one_acquisition(headers)
        except (DatasetError, OSError) as error:
            refused = str(error)
    return ListedSeries(
        number=series.number,
        uid=series.uid,
        description=series.description,
        place=str(series.files[0].parent),
        files=len(series.files),
        slices=len(series.images),
        step_mm=step,
        thickness_mm=thickness,
        pixel_mm=pixels,
        kernel=text_of(series.first, "ConvolutionKernel"),
        patient=text_of(series.first, "PatientID"),
        refused=refused,
    )


def table(listing: Listing) -> str:
    """The series as text: for each a row of columns, its UID, and whether it is accepted."""
    rows = [_COLUMNS, *map(_cells, listing.series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for row, series in zip(rows, [None, *listing.series], strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
        if series:
            lines.append(f"    UID {series.uid or _MISSING}, in {series.place}")
            lines.append(f"    refused: {series.refused}" if series.refused else "    accepted")
    return "\n".join(lines)


def _cells(series: ListedSeries) -> tuple[str, ...]:
    pixels = series.pixel_mm and " x ".join(f"{mm:.3g}" for mm in series.pixel_mm)
    return (
        series.number or _MISSING,
        str(series.slices),
        _MISSING if series.step_mm is None else f"{series.step_mm:.4g} mm",
        _MISSING if series.thickness_mm is None else f"{series.thickness_mm:.4g} mm",
        f"{pixels} mm" if pixels else _MISSING,
        series.kernel or _MISSING,
        series.patient or _MISSING,
        series.description or _MISSING,
    )
