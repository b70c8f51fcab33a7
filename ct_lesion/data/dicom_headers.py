"""What is read of a DICOM file before its pixels: enough to sort files into series of CT slices."""

from __future__ import annotations

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

from .errors import DatasetError

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
_SCOUTS = ("localizer", "scout", "topogram", "surview", "scanogram")
_MOST_SCOUTS = 4  # files of a series that only its description calls a scout
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
    """One DICOM file of a CT slice; positions and orientation are LPS, lengths in mm."""

    path: Path
    instance: int
    size: tuple[int, int]  # columns, rows
    position: np.ndarray  # (3,) of the first pixel's centre
    row: np.ndarray  # (3,) unit vector along a row
    column: np.ndarray  # (3,) unit vector along a column
    pixel_spacing: tuple[float, float] | None  # between rows, between columns
    thickness: float | None
    tilt_degrees: float
    inverted: bool  # MONOCHROME1: white is low

    @property
    def depth(self) -> float:
        """Place along the normal of the slice."""
        return float(np.dot(np.cross(self.row, self.column), self.position))


@dataclass(frozen=True)
class DicomSeries:
    """The files of one series.

    Attributes:
        uid: SeriesInstanceUID.
        number: SeriesNumber, as text; empty if it has none.
        fault: why it is no CT scan; None if it may be one.
    """

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    fault: str | None

    @property
    def label(self) -> str:
        """For messages."""
        about = f" ({self.description})" if self.description else ""
        return f"series {self.uid}{about}, {len(self.files)} files"


def is_dicom_file(path: Path) -> bool:
    """Whether a file's name or its first bytes say DICOM."""
    if path.suffix.lower() in DICOM_ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False  # unreadable, so it is skipped and named with the others


def read_header(path: Path, complete: bool = False) -> pydicom.Dataset:
    """The tags that are needed, without the pixels.

    Args:
        complete: refuse a file that ends before its pixels do.

    Raises:
        DatasetError: not DICOM, or damaged.
    """
    try:
        with path.open("rb") as file:
            # force: files without the preamble are common in old archives
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            if not (header.get("SOPClassUID") or header.get("Modality")):
                raise InvalidDicomError("no DICOM tags in it")
            if complete:
                _check_length(header, path.stat().st_size - file.tell())
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError, AttributeError) as error:
        raise DatasetError(f"{path}: cannot be read as DICOM ({error}).") from None
    return header


def _check_length(header: pydicom.Dataset, left: int) -> None:
    """Refuse what is left of a file if it is too short; GDCM would fill up with what it finds."""
    syntax = header.file_meta.get("TransferSyntaxUID") if hasattr(header, "file_meta") else None
    # of compressed pixels the length is not known, but their decoder notices
    if header.get("Rows") and (syntax is None or not syntax.is_compressed):
        bits = int(header.get("BitsAllocated") or 16) * int(header.get("SamplesPerPixel") or 1)
        frames = int(header.get("NumberOfFrames") or 1)
        if left < header.Rows * header.Columns * frames * bits // 8:
            raise InvalidDicomError("the file was cut off")


def group_series(paths: Iterable[Path]) -> tuple[list[DicomSeries], list[str]]:
    """Sort files into series, in the order of the first file of each.

    Scouts that stand in the series of a scan are left out of it.

    Returns:
        The series, and a note for each that lost files. A damaged file is a series of its own.
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
            continue  # DICOMDIR, an index of the others
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
    """Why a series is no CT scan, by its first file."""
    modality = str(header.get("Modality") or "unknown")
    if modality != "CT":
        return f"modality {modality}, not CT"
    if not header.get("Rows") or not header.get("Columns"):
        return "holds no image"
    if int(header.get("NumberOfFrames") or 1) > 1 or header.get("SOPClassUID") in _ENHANCED:
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
    """The header of a CT slice.

    Raises:
        DatasetError: damaged, or without position or orientation.
    """
    header = read_header(path, complete=True)
    position = header.get("ImagePositionPatient")
    orientation = header.get("ImageOrientationPatient")
    if not position or len(position) != 3 or not orientation or len(orientation) != 6:
        raise DatasetError(
            f"{path}: no ImagePositionPatient or ImageOrientationPatient, so the order of the "
            "slices is not known."
        )
    cosines = np.array(orientation, float)
    spacing = header.get("PixelSpacing")
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return SliceHeader(
        path=path,
        instance=int(header.get("InstanceNumber") or 0),
        size=(int(header.Columns), int(header.Rows)),
        position=np.array(position, float),
        row=cosines[:3] / np.linalg.norm(cosines[:3]),
        column=cosines[3:] / np.linalg.norm(cosines[3:]),
        pixel_spacing=(float(spacing[0]), float(spacing[1])) if spacing else None,
        thickness=abs(float(thickness)) if thickness else None,
        tilt_degrees=float(header.get("GantryDetectorTilt") or 0.0),
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
    )


def patient_of(path: Path) -> str | None:
    """The patient id in a file, or None."""
    return str(read_header(path).get("PatientID") or "") or None
