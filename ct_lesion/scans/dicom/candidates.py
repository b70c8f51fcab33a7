"""DICOM images that may be CT slices, and whether two of them fit into one scan."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID_dictionary

from .images import DicomImage
from .values import numbers_of, text_of

SCOUT = "a scout (localizer), not a scan"


@dataclass(frozen=True)
class Candidate:
    """Header of an image, and the tags that decide whether it fits into a scan with others.

    Attributes:
        fault: why it is not a CT slice, e.g. another modality; None if it may be one.
        damage: an error about an unusable tag; None if all are usable.
        position, orientation, spacing: None if missing.
    """

    image: DicomImage
    header: pydicom.Dataset = field(repr=False)
    fault: str | None
    damage: str | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, ...] | None = None

    @property
    def placed(self) -> bool:
        """Whether it has a position and an orientation."""
        return self.position is not None and self.orientation is not None

    @cached_property
    def size(self) -> tuple[object, object]:
        """Columns and rows."""
        return self.header.get("Columns"), self.header.get("Rows")

    def difference(self, other: Candidate) -> str | None:
        """Why this image cannot be in the same scan as another; None if it can."""
        if self.fault != other.fault:
            return self.fault or f"a CT image, unlike {other.image.name}"
        if self.placed != other.placed:
            if other.placed:
                return "no ImagePositionPatient or ImageOrientationPatient"
            return "with ImagePositionPatient and ImageOrientationPatient, unlike the others"
        if self.size != other.size:
            (columns, rows), (usual_columns, usual_rows) = self.size, other.size
            return f"{columns} x {rows} pixels, the others have {usual_columns} x {usual_rows}"
        if self.turned(other):
            return "its ImageOrientationPatient differs"
        same = self.spacing is other.spacing or (
            None not in (self.spacing, other.spacing)
            and all(map(_alike, self.spacing, other.spacing))
        )
        return None if same else "its PixelSpacing differs"

    def turned(self, other: Candidate) -> bool:
        """Whether both images have an orientation, and the orientations differ."""
        if self.orientation is None or other.orientation is None:
            return False
        pairs = zip(self.orientation, other.orientation, strict=True)
        return any(abs(ours - theirs) > 1e-2 for ours, theirs in pairs)


def _alike(ours: float, theirs: float) -> bool:
    return math.isclose(ours, theirs, rel_tol=1e-4, abs_tol=1e-8)


def candidate(image: DicomImage, header: pydicom.Dataset) -> Candidate:
    """Create a candidate from the header of an image."""
    fault = _fault(header)
    if fault:
        return Candidate(image, header, fault)
    try:
        position = numbers_of(header, "ImagePositionPatient", 3)
        orientation = numbers_of(header, "ImageOrientationPatient", 6)
        spacing = numbers_of(header, "PixelSpacing", 2)
    except InvalidDicomError as error:
        damage = f"{image} cannot be read as a CT slice ({error}). Export it again."
        return Candidate(image, header, None, damage)
    return Candidate(image, header, None, None, position, orientation, spacing)


def _fault(header: pydicom.Dataset) -> str | None:
    """Why an image is not a CT slice; None if it may be one."""
    modality = text_of(header, "Modality") or "unknown"
    if modality != "CT":
        return f"modality {modality}, not CT"
    if not header.get("Rows") or not header.get("Columns"):
        return "it holds no image"
    if header.get("NumberOfFrames") not in (None, "", 1):
        name, *_ = UID_dictionary.get(header.get("SOPClassUID"), ["an unknown class"])
        return (
            f"a multi-frame image of class {name}, but only enhanced CT is read: convert it to "
            "NIfTI or to one file per slice"
        )
    if text_of(header, "VolumetricProperties").upper() == "DISTORTED":
        return "a curved or otherwise distorted image (VolumetricProperties), not a slice"
    if header.get("SamplesPerPixel") not in (None, "", 1):
        return "a colour image, not a CT slice"
    if "LOCALIZER" in text_of(header, "ImageType").upper():
        return SCOUT
    return None
