"""DICOM headers: sorting files into series, and the checked header of a CT slice."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ct_lesion.errors import DatasetError, reason

from ..geometry import LARGEST_NUMBER
from .values import DEFLATED, check_image_tags, check_pixel_data, number_of, numbers_of, whole_of

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
LARGEST_SPACING = 1000.0  # mm, between pixels or slices
_SCOUTS = ("localizer", "scout", "topogram", "surview", "scanogram")
_MOST_SCOUTS = 4  # files of a series that is a scout only by its description
_ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_TAGS = [
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "InstanceNumber",
    "PatientID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "GantryDetectorTilt",
]


@dataclass(frozen=True)
class SliceHeader:
    """Header of a CT slice; position and orientation are LPS, lengths in mm."""

    path: Path
    instance: int
    size: tuple[int, int]  # columns, rows
    position: np.ndarray  # (3,) of the first pixel's centre
    row: np.ndarray  # (3,) unit vector along a row
    column: np.ndarray  # (3,) unit vector along a column
    pixel_spacing: tuple[float, float] | None  # between rows, between columns
    thickness: float | None
    tilt_degrees: float
    inverted: bool  # MONOCHROME1: low values are white

    @property
    def depth(self) -> float:
        """Position along the normal of the slice, in mm."""
        return float(np.dot(np.cross(self.row, self.column), self.position))


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber as text; empty if there is none.
        fault: why the series is not a CT scan; None if it may be one.
    """

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    fault: str | None

    @property
    def label(self) -> str:
        """Text for messages."""
        about = f" ({self.description})" if self.description else ""
        return f"series {self.uid}{about}, {len(self.files)} files"


def is_dicom_file(path: Path) -> bool:
    """Whether a file has a DICOM ending or preamble."""
    if path.suffix.lower() in DICOM_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # unreadable, so it is skipped and listed with the others


def read_header(path: Path, complete: bool = False) -> pydicom.Dataset:
    """Read the tags that we need, without the pixels.

    Args:
        complete: also check the tags that describe a CT slice's pixels, and the pixels' length.

    Raises:
        DatasetError: the file is not DICOM, or damaged.
    """
    try:
        # memory-mapped, so a tag with a false length cannot read beyond the file's end
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(DEFLATED) >= 0:
                raise InvalidDicomError(
                    "its transfer syntax is deflated, which is not supported: convert it, e.g. "
                    "with gdcmconv --raw"
                )
            # force: old archives often hold files without the preamble
            header = pydicom.dcmread(data, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            if not (header.get("SOPClassUID") or header.get("Modality")):
                raise InvalidDicomError("it has no DICOM tags")
            for keyword in _TAGS:
                header.get(keyword)  # pydicom converts values on access; fail here if damaged
            if complete:
                check_image_tags(path, header)
                check_pixel_data(header, data)
    except DatasetError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        raise DatasetError(f"{path}: cannot be read as DICOM ({reason(error)}).") from None
    return header


def group_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], list[str]]:
    """Sort files into series, ordered by the first file of each.

    Scouts within the series of a scan are left out.

    Returns:
        The series, and a note for each series with scouts. A damaged file is a series of its own.
    """
    headers: dict[str, list[tuple[Path, pydicom.Dataset]]] = {}
    damaged, notes = [], []
    for path in sorted(paths):
        try:
            header = read_header(path)
        except DatasetError as error:
            damaged.append(DicomSeries("", "", "", (path,), str(error)))
            continue
        if header.get("SOPClassUID") == MediaStorageDirectoryStorage:
            continue  # DICOMDIR, an index of the other files
        headers.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    series = []
    for uid, members in headers.items():
        slices = [m for m in members if not _is_scout(m[1])]
        if slices and len(slices) < len(members):
            notes.append(f"series {uid}: {len(members) - len(slices)} scout images were left out")
        series.append(_series(uid, slices or members))
    return series + damaged, notes


def _series(uid: str, members: list[tuple[Path, pydicom.Dataset]]) -> DicomSeries:
    first = members[0][1]
    return DicomSeries(
        uid=uid,
        number=str(first.get("SeriesNumber") or ""),
        description=str(first.get("SeriesDescription") or ""),
        files=tuple(path for path, _ in members),
        fault=_fault(first, len(members)),
    )


def _fault(header: pydicom.Dataset, files: int) -> str | None:
    """Why a series is not a CT scan, judged by its first file; None if it may be one."""
    modality = str(header.get("Modality") or "unknown")
    if modality != "CT":
        return f"modality {modality}, not CT"
    if not header.get("Rows") or not header.get("Columns"):
        return "holds no image"
    frames = header.get("NumberOfFrames")
    if frames not in (None, "", 1) or header.get("SOPClassUID") in _ENHANCED:
        return (
            "enhanced (multi-frame) DICOM, which is not supported: convert it to NIfTI or to one "
            "file a slice"
        )
    description = str(header.get("SeriesDescription") or "").lower()
    called_scout = any(word in description for word in _SCOUTS) and files <= _MOST_SCOUTS
    if called_scout or _is_scout(header):
        return "a scout (localizer), not a scan"
    return None


def _is_scout(header: pydicom.Dataset) -> bool:
    return "LOCALIZER" in str(header.get("ImageType") or "").upper()


def slice_header(path: Path) -> SliceHeader:
    """Read and check the header of a CT slice.

    Raises:
        DatasetError: the file is damaged, or has no position or orientation.
    """
    header = read_header(path, complete=True)
    try:
        return _slice_header(path, header)
    except InvalidDicomError as error:
        raise DatasetError(f"{path}: cannot be read as a CT slice ({error}).") from None


def _slice_header(path: Path, header: pydicom.Dataset) -> SliceHeader:
    position = numbers_of(header, "ImagePositionPatient", 3)
    orientation = numbers_of(header, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise DatasetError(
            f"{path}: no ImagePositionPatient or ImageOrientationPatient, so the order of the "
            "slices is unknown."
        )
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or max(lengths) > 2 or abs(row @ column) > 0.1:
        raise InvalidDicomError(f"ImageOrientationPatient {orientation} does not give two axes")
    if max(map(abs, position)) > LARGEST_NUMBER:
        raise InvalidDicomError(f"ImagePositionPatient {position} is impossibly far away")
    spacing = numbers_of(header, "PixelSpacing", 2)
    if spacing is not None and not 0 < min(spacing) <= max(spacing) <= LARGEST_SPACING:
        raise InvalidDicomError(f"PixelSpacing {spacing} is not within 0 to {LARGEST_SPACING:g} mm")
    thickness = number_of(header, "SpacingBetweenSlices") or number_of(header, "SliceThickness")
    if thickness is not None and abs(thickness) > LARGEST_SPACING:
        raise InvalidDicomError(f"its slices are {thickness:g} mm thick")
    return SliceHeader(
        path=path,
        instance=int(number_of(header, "InstanceNumber", 0)),
        size=(whole_of(header, "Columns"), whole_of(header, "Rows")),
        position=np.array(position),
        row=row / lengths[0],
        column=column / lengths[1],
        pixel_spacing=spacing,
        thickness=abs(thickness) if thickness else None,
        tilt_degrees=number_of(header, "GantryDetectorTilt", 0.0),
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
    )


def patient_of(path: Path) -> str | None:
    """PatientID of a file; None if it has none."""
    return str(read_header(path).get("PatientID") or "") or None
