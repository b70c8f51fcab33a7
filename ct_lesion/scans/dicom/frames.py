"""Frames of enhanced CT files, each with a header like that of a single-slice file.

An enhanced file (Enhanced CT, Legacy Converted Enhanced CT) holds many frames. Their tags are in
functional groups: shared ones for all frames, and others for each frame. Here each frame gets a
flat header with the tags of both, named as in single-slice files, so that all checks of slices
apply to frames.
"""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from ct_lesion.errors import DatasetError, reason

from .images import DicomImage
from .values import text_of, whole_of

ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
MOST_FRAMES = 20_000
"""More than in any CT; 30 passes over 600 slices are 18,000."""
GROUP_TAGS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
FILE_TAGS = (*GROUP_TAGS, "InConcatenationNumber")
_STRIDE = 100_000  # frames of file n, from 0, are numbered from n times this
# functional groups, and their tags that have the same names in single-slice files
_SAME = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness", "SpacingBetweenSlices"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
    "CTXRayDetailsSequence": ("KVP",),
    "CTAcquisitionDetailsSequence": ("GantryDetectorTilt",),
}
_CONVERTED = (  # tags that a converter copied from single slices
    "AcquisitionNumber",
    "TemporalPositionIdentifier",
    "AcquisitionTime",
    "ConvolutionKernel",
    "GantryDetectorTilt",
    "InstanceNumber",
    "ImageType",
    "KVP",
    "ContrastBolusAgent",
)
_GROUPS: dict[str, dict[str, str]] = {
    "UnassignedSharedConvertedAttributesSequence": {name: name for name in _CONVERTED},
    "UnassignedPerFrameConvertedAttributesSequence": {name: name for name in _CONVERTED},
    **{sequence: {name: name for name in names} for sequence, names in _SAME.items()},
    "CTImageFrameTypeSequence": {
        "FrameType": "ImageType",
        "VolumetricProperties": "VolumetricProperties",
    },
    "FrameContentSequence": {
        "StackID": "StackID",
        "TemporalPositionIndex": "TemporalPositionIdentifier",
        "FrameAcquisitionNumber": "AcquisitionNumber",
        "FrameAcquisitionDateTime": "AcquisitionTime",
    },
}


def is_enhanced(header: pydicom.Dataset) -> bool:
    """Whether a file is enhanced CT, whose frames are read as slices."""
    return header.get("SOPClassUID") in ENHANCED


def images_of(path: Path, header: pydicom.Dataset) -> list[tuple[DicomImage, pydicom.Dataset]]:
    """The images of a file, each with its header: one, or the frames of an enhanced file.

    Raises:
        DatasetError: functional groups are missing, damaged, or not as many as frames.
    """
    if not is_enhanced(header) or text_of(header, "Modality") != "CT":
        return [(DicomImage(path), header)]
    try:
        shared, frames = _functional_groups(header)
        common = _common(header)
        _take(common, shared, "the shared groups")
        return [
            (DicomImage(path, number), _frame_header(header, common, groups, number))
            for number, groups in enumerate(frames, start=1)
        ]
    except Exception as error:  # damaged bytes can raise anything
        raise DatasetError(
            f"{path} cannot be read as enhanced CT ({reason(error)}). Export it again."
        ) from None


def _functional_groups(
    header: pydicom.Dataset,
) -> tuple[pydicom.Dataset, list[pydicom.Dataset]]:
    """The shared functional groups, and those of each frame."""
    shared, frames = (header.get(tag) for tag in GROUP_TAGS)
    if not frames:
        raise InvalidDicomError("it has no PerFrameFunctionalGroupsSequence")
    count = whole_of(header, "NumberOfFrames")
    if count > MOST_FRAMES:
        raise InvalidDicomError(f"NumberOfFrames is {count:,}, above {MOST_FRAMES:,}")
    if count != len(frames):
        raise InvalidDicomError(
            f"NumberOfFrames is {count:,}, but there are functional groups of {len(frames):,} "
            "frames: it was cut off or is damaged"
        )
    if shared and len(shared) != 1:
        raise InvalidDicomError("SharedFunctionalGroupsSequence has several items")
    return shared[0] if shared else pydicom.Dataset(), list(frames)


def _common(header: pydicom.Dataset) -> pydicom.Dataset:
    """The tags of the file, without the functional groups."""
    apart = {*map(Tag, FILE_TAGS), Tag("NumberOfFrames")}
    common = pydicom.Dataset()
    common.update({tag: header.get_item(tag) for tag in list(header.keys()) if tag not in apart})
    if hasattr(header, "file_meta"):
        common.file_meta = header.file_meta
    return common


def _frame_header(
    header: pydicom.Dataset, common: pydicom.Dataset, groups: pydicom.Dataset, number: int
) -> pydicom.Dataset:
    """The flat header of a frame.

    Args:
        header: header of the file.
        common: the tags of the file and of the shared groups.
        groups: the functional groups of the frame.
        number: number of the frame, from 1.
    """
    flat = pydicom.Dataset()
    flat.update(common)
    if hasattr(header, "file_meta"):
        flat.file_meta = header.file_meta
    # the InstanceNumber of the file, not of a slice
    flat.pop("InstanceNumber", None)
    _take(flat, groups, f"frame {number}")
    if "InstanceNumber" not in flat:
        file = whole_of(header, "InConcatenationNumber", whole_of(header, "InstanceNumber", 1))
        put(flat, "InstanceNumber", max(file - 1, 0) * _STRIDE + number)
    return flat


def _take(flat: pydicom.Dataset, groups: pydicom.Dataset, where: str) -> None:
    """Add the tags of functional groups to a flat header."""
    for sequence, names in _GROUPS.items():
        items = groups.get(sequence)
        if not items:
            continue
        if len(items) != 1:
            raise InvalidDicomError(f"{sequence} of {where} has {len(items)} items, expected one")
        for name, flat_name in names.items():
            if name not in items[0]:
                continue
            if name == "FrameAcquisitionDateTime":
                put(flat, flat_name, _time_in(str(items[0][name].value)))
            elif name == flat_name:
                flat[name] = items[0][name]
            else:
                put(flat, flat_name, items[0][name].value)


def put(flat: pydicom.Dataset, name: str, value: object) -> None:
    """Set a tag of a frame's header in a new element: the frames of a file share elements."""
    flat[name] = pydicom.DataElement(name, dictionary_VR(name), value)


def _time_in(text: str) -> str:
    """The time of a DICOM date-time ``YYYYMMDDHHMMSS.F&ZZXX``; empty if it has none."""
    match = re.match(r"\d{8}(\d{2,6}(\.\d{1,6})?)", text)
    return match[1] if match else ""
