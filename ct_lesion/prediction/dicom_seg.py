"""Lesions as a DICOM segmentation that references its source images."""

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.sr.codedict import codes
from pydicom.valuerep import DA, TM, DSfloat

from ct_lesion.errors import reason
from ct_lesion.files import atomic_write
from ct_lesion.scans.dicom.references import read_sources, refer_to_frames
from ct_lesion.scans.dicom.values import number_of
from ct_lesion.scans.scan import Scan
from ct_lesion.version import __version__

NEEDED = (
    "SOPInstanceUID",
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
)
"""Attributes of the source images that a segmentation needs."""
TEXTS = (
    "PatientID",
    "PatientName",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Text attributes of patient and study that are copied; they may be missing or empty."""
SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}


def write_dicom_seg(
    path: Path, scan: Scan, labels: np.ndarray, names: Sequence[str], *, tracked: bool = False
) -> str | None:
    """Write a binary segmentation with a segment for each label that occurs.

    Invalid dates, times and sexes of the source images are left empty.

    Args:
        path: the new file.
        scan: read from a DICOM series.
        labels: (S, H, W) uint8, 0 background; not all 0.
        names: names of the labels 1, 2, ...: classes or lesions.
        tracked: whether segments are lesions, which get tracking identifiers.

    Returns:
        ``None``, or why the file cannot be written: the source images lack attributes that a
        segmentation needs, or have invalid ones.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
    """
    try:
        segmentation = _segmentation(scan, labels, names, tracked)
        with atomic_write(path) as temporary:
            segmentation.save_as(temporary)
    except OSError:
        raise
    except _MissingAttributes as error:
        return f"no DICOM segmentation: {error}"
    except Exception as error:  # invalid tags raise many kinds of errors
        return f"no DICOM segmentation: the images have invalid tags ({reason(error)})"
    return None


class _MissingAttributes(ValueError):
    """The images lack attributes that a segmentation needs."""


def _segmentation(
    scan: Scan, labels: np.ndarray, names: Sequence[str], tracked: bool
) -> hd.seg.Segmentation:
    # in the order and orientation of the series, not of the scan
    sources = [scan.dicom_images[scan.geometry.input_slice(z)] for z in range(len(scan))]
    images, origins = read_sources(sources)
    missing = sorted({name for image in images for name in NEEDED if name not in image})
    if missing:
        raise _MissingAttributes(f"the images have no {', '.join(missing)}")
    # slice by slice to save memory, because bincount converts its input to int64
    counts = [
        np.bincount(slice_labels.ravel(), minlength=len(names) + 1) for slice_labels in labels
    ]
    present = np.flatnonzero(np.sum(counts, axis=0)[1:])
    segments = np.zeros(len(names) + 1, np.uint8)  # label -> segment, numbered without gaps
    segments[present + 1] = np.arange(1, len(present) + 1)
    described = _patient_and_study(images[0])
    for name, mm in _thickness(images[0], scan).items():
        setattr(described, name, None if mm is None else DSfloat(mm, auto_format=True))
    segmentation = hd.seg.Segmentation(
        source_images=[_reference(image, described) for image in images],
        pixel_array=segments[scan.geometry.to_input(labels)],
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, names[label], tracked) for number, label in enumerate(present, start=1)
        ],
        series_instance_uid=hd.UID(),
        series_number=900,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="ct_lesion",
        manufacturer_model_name="ct_lesion",
        software_versions=__version__,
        device_serial_number="0",
        series_description="Predicted lesions, not for clinical use",
    )
    refer_to_frames(segmentation, origins)
    return segmentation


def _segment(number: int, name: str, tracked: bool) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=name,
        tracking_id=name if tracked else None,
        tracking_uid=hd.UID() if tracked else None,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="ct_lesion",
            version=__version__,
            family=codes.DCM.ArtificialIntelligence,
        ),
    )


# ---- the attributes of the source images --------------------------------------------------------
def _reference(image: pydicom.Dataset, described: pydicom.Dataset) -> pydicom.Dataset:
    """The attributes of a source image that the segmentation needs; highdicom may reject others."""
    source = pydicom.Dataset()
    source.update(described)
    for name in (*NEEDED, "Rows", "Columns"):
        source[name] = image[name]
    source.Modality = "CT"
    return source


def _patient_and_study(image: pydicom.Dataset) -> pydicom.Dataset:
    """The attributes of patient and study; missing and invalid ones are empty."""
    described = pydicom.Dataset()
    has_known_encodings = _has_known_encodings(image)
    raw = {name: _bytes_of(image, name) for name in TEXTS}
    if has_known_encodings or all(text.isascii() for text in raw.values()):
        described.SpecificCharacterSet = "ISO_IR 192"
        for name in TEXTS:
            setattr(described, name, str(image.get(name) or ""))
    else:
        # Unknown encoding: without a character set pydicom writes Latin-1, which keeps the source
        # image's bytes.
        for name, text in raw.items():
            setattr(described, name, text.decode("latin-1").strip("\0 "))
    described.PatientBirthDate = _valid(DA, image, "PatientBirthDate")
    described.StudyDate = _valid(DA, image, "StudyDate")
    described.StudyTime = _valid(TM, image, "StudyTime")
    sex = _bytes_of(image, "PatientSex").decode("latin-1").strip("\0 ")
    described.PatientSex = SEXES.get(sex.upper(), "")
    return described


def _has_known_encodings(image: pydicom.Dataset) -> bool:
    """Whether the image declares its character sets, and pydicom knows all of them."""
    text = _bytes_of(image, "SpecificCharacterSet").decode("latin-1")
    names = [name.strip("\0 ") for name in text.split("\\")]
    return text != "" and all(name in python_encoding for name in names)


def _bytes_of(image: pydicom.Dataset, name: str) -> bytes:
    """The raw bytes of a text attribute; empty if it is missing."""
    if name not in image:
        return b""
    element = image.get_item(name)
    if isinstance(element, RawDataElement):
        return element.value or b""
    value = element.value
    text = "\\".join(map(str, value)) if element.VM > 1 else str("" if value is None else value)
    return text.encode("utf-8")


def _valid(kind: type, image: pydicom.Dataset, name: str) -> str:
    """A date or time as text; empty if it is missing or invalid."""
    text = _bytes_of(image, name).decode("latin-1").strip("\0 ")
    try:
        kind(text)
    except ValueError:
        return ""
    return text


def _thickness(image: pydicom.Dataset, scan: Scan) -> dict[str, float | None]:
    """Thickness of the slices, by default the scan's z spacing, and their distance, in mm."""
    thickness = _positive(image, "SliceThickness") or (scan.spacing_mm and scan.spacing_mm[0])
    distance = _positive(image, "SpacingBetweenSlices")
    return {"SliceThickness": thickness, "SpacingBetweenSlices": distance}


def _positive(image: pydicom.Dataset, name: str) -> float | None:
    try:
        number = number_of(image, name)
    except InvalidDicomError:
        return None
    return number if number and number > 0 else None
