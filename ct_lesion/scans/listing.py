"""Which DICOM series there are among the inputs, and which can be read; only headers are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError

from .dicom.acquisitions import check_one_acquisition, distinct
from .dicom.grouping import DicomSeries, group_series
from .dicom.series import series_headers
from .dicom.values import text_of
from .inputs import FoundFiles, some_names, take_input

_NONE = "-"
_COLUMNS = ("series", "slices", "step", "thickness", "pixels", "kernel", "patient", "description")


@dataclass(frozen=True)
class ListedSeries:
    """A DICOM series, or a part of one that is read as a scan of its own.

    Attributes:
        number: SeriesNumber; empty if there is none.
        uid: SeriesInstanceUID; empty if there is none.
        place: the folder or zip of its files.
        slices: images, also copies of slices.
        step_mm: median distance of neighbouring slices.
        thickness_mm: SliceThickness.
        pixel_mm: between rows and between columns.
        patient: PatientID.
        refused: why it is not read as a scan; None if its headers show no reason.
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
    """What was found in the inputs.

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
        DatasetError: an input does not exist or cannot be used, or there is nothing in the inputs.
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
            thickness = headers[0].thickness
            if len(depths) == len(headers):  # else the pixels decide which are copies
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
    """The series as text: a line of columns for each, its UID, and why it is refused."""
    rows = [_COLUMNS, *map(_cells, listing.series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = []
    for row, series in zip(rows, [None, *listing.series], strict=True):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
        if series:
            lines.append(f"    UID {series.uid or _NONE}, in {series.place}")
            lines.append(f"    refused: {series.refused}" if series.refused else "    accepted")
    return "\n".join(lines)


def _cells(series: ListedSeries) -> tuple[str, ...]:
    pixels = series.pixel_mm and " x ".join(f"{mm:.3g}" for mm in series.pixel_mm)
    return (
        series.number or _NONE,
        str(series.slices),
        _NONE if series.step_mm is None else f"{series.step_mm:.4g} mm",
        _NONE if series.thickness_mm is None else f"{series.thickness_mm:.4g} mm",
        f"{pixels} mm" if pixels else _NONE,
        series.kernel or _NONE,
        series.patient or _NONE,
        series.description or _NONE,
    )
