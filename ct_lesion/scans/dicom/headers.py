"""Recognising DICOM files, and reading the checked header of a CT slice."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import MediaStorageDirectoryStorage

from ct_lesion.errors import DatasetError, reason
from ct_lesion.pictures import LARGEST_PICTURE
from ct_lesion.zip_files import open_file

from ..geometry import LARGEST_NUMBER
from .frames import FILE_TAGS, images_of, is_enhanced
from .images import DicomImage
from .values import (
    DEFLATED,
    check_image_tags,
    check_pixel_data,
    number_of,
    numbers_of,
    padding_of,
    text_of,
    whole_of,
)

LARGEST_FILE = 4 * LARGEST_PICTURE + 2**24
"""Bytes of the largest CT slice: 32 bits per pixel, and 16 MiB of tags."""
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
MOST_ITEMS = 120_000
"""Most sequence items in a file: 20 for each of 6,000 frames. pydicom needs a kilobyte of memory
for each, even if it is tiny in the file."""
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")  # in both byte orders
LARGEST_SPACING = 1000.0  # mm, between pixels or slices
ACQUISITION_TAGS = (
    "AcquisitionNumber",
    "StackID",
    "TemporalPositionIdentifier",
    "FrameOfReferenceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
    "SeriesTime",
    "AcquisitionTime",
)
"""Tags that distinguish acquisitions and reconstructions in a series, most reliable first."""
PATIENT_TAGS = ("PatientID", "PatientName", "PatientBirthDate")
# first bytes of a file without preamble: little-endian group 0002 or 0008, a low element number
_BARE_START = re.compile(rb"[\x02\x08]\x00[\x00-\x20]\x00([A-Z]{2}|..\x00\x00)", re.DOTALL)
_KEYWORDS = [
    *FILE_TAGS,
    *ACQUISITION_TAGS,
    *PATIENT_TAGS,
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "Modality",
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
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "PhotometricInterpretation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "GantryDetectorTilt",
]
_ADVICE = "Export it again, or leave it out."
_TAGS = [Tag(keyword) for keyword in _KEYWORDS]  # pydicom looks keywords up slowly


@dataclass(frozen=True)
class SliceHeader:
    """Header of a CT slice; position and orientation are LPS, lengths in mm."""

    image: DicomImage
    patient: str | None  # PatientID
    instance: int | None  # InstanceNumber
    acquisition: str  # AcquisitionNumber; empty if missing
    time: float | None  # AcquisitionTime as a number hhmmss.f
    size: tuple[int, int]  # columns, rows
    position: np.ndarray  # (3,) of the first pixel's centre
    row: np.ndarray  # (3,) unit vector along a row
    column: np.ndarray  # (3,) unit vector along a column
    pixel_spacing: tuple[float, float] | None  # between rows, between columns
    thickness: float | None  # SpacingBetweenSlices, or SliceThickness
    tilt_degrees: float
    inverted: bool  # MONOCHROME1: low values are white
    rescaled: tuple[bool, bool]  # whether it has RescaleSlope and RescaleIntercept
    rescale_type: str  # RescaleType; empty if missing
    padding: tuple[float, float] | None  # lowest and highest HU of padding
    tags: pydicom.Dataset = field(repr=False)
    frames: int  # number of frames in the file
    pixels_at: int  # byte offset of the PixelData element in the file

    @property
    def path(self) -> Path:
        """The file."""
        return self.image.path

    @property
    def depth(self) -> float:
        """Position along the normal of the slice, in mm."""
        return float(np.dot(np.cross(self.row, self.column), self.position))


def is_dicom_file(path: Path) -> bool:
    """Whether a file has a DICOM extension or preamble, or is DICOM without a preamble."""
    if path.suffix.lower() in DICOM_ENDINGS:
        return True
    try:
        with open_file(path) as file:
            start = file.read(132)
        if start[128:] == b"DICM":
            return True
        if not _BARE_START.match(start):
            return False
        read_header(path)
    except (OSError, DatasetError):
        return False  # the caller lists it among the skipped files
    return True


def read_header(path: Path) -> pydicom.Dataset:
    """Read the needed tags of a file, without the pixels.

    Raises:
        DatasetError: the file is damaged or not DICOM.
    """
    return _read(path, complete=False)[0]


def _read(path: Path, complete: bool) -> tuple[pydicom.Dataset, int]:
    """Read the header of a file, and the byte offset of its PixelData element.

    Args:
        complete: also check the tags that describe a CT slice's pixels, and the pixels' length.
    """
    try:
        # Parsed from memory: from a file, pydicom would allocate any length that a damaged tag
        # claims. Not memory-mapped: if the file were truncated meanwhile, the process would crash.
        with open_file(path) as file:
            content = file.read(LARGEST_FILE + 1)
            data = BytesIO(content)
            if content.find(DEFLATED) >= 0:
                raise InvalidDicomError(
                    "its transfer syntax is deflated, which is not supported: convert it, e.g. "
                    "with gdcmconv --raw"
                )
            if sum(map(content.count, _ITEMS)) > MOST_ITEMS:
                raise InvalidDicomError(f"it has more than {MOST_ITEMS:,} sequence items")
            # force: old archives often hold files without the preamble
            header = pydicom.dcmread(data, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            if is_directory(header):
                return header, 0
            if not (header.get("SOPClassUID") or header.get("Modality")):
                raise InvalidDicomError("it has no DICOM tags")
            for _ in header:
                pass  # pydicom converts values on access, so damaged ones fail here
            if complete and not is_enhanced(header):
                if len(content) > LARGEST_FILE:
                    most = f"{LARGEST_FILE:,} bytes"
                    raise InvalidDicomError(f"it has more than {most}, too large for a CT slice")
                check_image_tags(path, header)
                check_pixel_data(header, data, data.tell())
            elif complete:
                frames = images_of(path, header)
                check_image_tags(path, frames[0][1])
                check_pixel_data(frames[0][1], file, data.tell(), len(frames))
    except DatasetError:
        raise
    except Exception as error:  # damaged bytes can raise anything
        why = reason(error)
        raise DatasetError(f"{path} cannot be read as DICOM ({why}). {_ADVICE}") from None
    return header, data.tell()


def is_directory(header: pydicom.Dataset) -> bool:
    """Whether a file is a DICOMDIR, an index of other files."""
    meta = getattr(header, "file_meta", {})
    classes = (header.get("SOPClassUID"), meta.get("MediaStorageSOPClassUID"))
    return MediaStorageDirectoryStorage in classes


def slice_headers(images: Iterable[DicomImage]) -> list[SliceHeader]:
    """Read and check the headers of CT slices; each file is read once.

    Raises:
        DatasetError: a file is damaged, or an image has no position or orientation.
    """
    headers = []
    for path, wanted in groupby(sorted(images), key=lambda image: image.path):
        header, pixels_at = _read(path, complete=True)
        frames = dict(images_of(path, header))
        for image in wanted:
            try:
                if image not in frames:
                    raise InvalidDicomError("the file was replaced while it was read")
                if image.frame:
                    check_image_tags(path, frames[image])
                headers.append(_slice_header(image, frames[image], len(frames), pixels_at))
            except InvalidDicomError as error:
                raise DatasetError(
                    f"{image} cannot be read as a CT slice ({error}). {_ADVICE}"
                ) from None
    return headers


def slice_thickness(header: pydicom.Dataset) -> float | None:
    """SliceThickness in mm; text ("5 mm") counts as missing: only a single slice needs it."""
    try:
        return number_of(header, "SliceThickness")
    except InvalidDicomError:
        return None


def _slice_header(
    image: DicomImage, header: pydicom.Dataset, frames: int, pixels_at: int
) -> SliceHeader:
    position = numbers_of(header, "ImagePositionPatient", 3)
    orientation = numbers_of(header, "ImageOrientationPatient", 6)
    if position is None or orientation is None:
        raise DatasetError(
            f"{image} has no ImagePositionPatient or ImageOrientationPatient, so the order of the "
            "slices is unknown. Export the series again with these tags."
        )
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.5 or max(lengths) > 2 or abs(row @ column) > 0.1:
        raise InvalidDicomError(
            f"ImageOrientationPatient {orientation} is not two perpendicular unit vectors"
        )
    if max(map(abs, position)) > LARGEST_NUMBER:
        raise InvalidDicomError(f"ImagePositionPatient {position} is over {LARGEST_NUMBER:g} mm")
    spacing = numbers_of(header, "PixelSpacing", 2)
    if spacing is not None and not 0 < min(spacing) <= max(spacing) <= LARGEST_SPACING:
        raise InvalidDicomError(f"PixelSpacing {spacing} is not in 0 to {LARGEST_SPACING:g} mm")
    thickness = number_of(header, "SpacingBetweenSlices") or slice_thickness(header)
    if thickness is not None and abs(thickness) > LARGEST_SPACING:
        raise InvalidDicomError(f"its slice thickness is {thickness:g} mm")
    instance = number_of(header, "InstanceNumber")
    return SliceHeader(
        image=image,
        patient=text_of(header, "PatientID") or None,
        instance=None if instance is None else int(instance),
        acquisition=text_of(header, "AcquisitionNumber"),
        time=_time_of(header),
        size=(whole_of(header, "Columns"), whole_of(header, "Rows")),
        position=np.array(position),
        row=row / lengths[0],
        column=column / lengths[1],
        pixel_spacing=spacing,
        thickness=abs(thickness) if thickness else None,
        tilt_degrees=number_of(header, "GantryDetectorTilt", 0.0),
        inverted=header.get("PhotometricInterpretation") == "MONOCHROME1",
        rescaled=tuple(text_of(header, f"Rescale{what}") != "" for what in ("Slope", "Intercept")),
        rescale_type=text_of(header, "RescaleType"),
        padding=padding_of(header),
        tags=header,
        frames=frames,
        pixels_at=pixels_at,
    )


def _time_of(header: pydicom.Dataset) -> float | None:
    text = text_of(header, "AcquisitionTime").replace(":", "")
    return float(text) if re.fullmatch(r"\d{1,6}(\.\d*)?", text) else None
