"""Lesions as a DICOM segmentation that refers to its source images."""

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
from pydicom.sr.codedict import codes

from ct_lesion.errors import reason
from ct_lesion.scans.scan import Scan
from ct_lesion.version import __version__

# attributes that a segmentation copies from its source images
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
# type 2 attributes of patient and study: they may be empty, but highdicom needs them to be present
MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def write_dicom_seg(
    path: Path, scan: Scan, labels: np.ndarray, class_names: Sequence[str]
) -> str | None:
    """Write a binary segmentation with a segment for each lesion class that occurs.

    Args:
        path: of the new file.
        scan: read from a DICOM series.
        labels: (S, H, W) uint8, 0 background, else class + 1; not all 0.
        class_names: of the lesions.

    Returns:
        ``None``, or why the file cannot be written: attributes that a segmentation copies from its
        source images are missing or invalid.
    """
    try:
        segmentation = _segmentation(scan, labels, class_names)
    except _CannotRefer as error:
        return f"no DICOM segmentation: {error}"
    except Exception as error:  # invalid tags raise errors of many kinds
        return f"no DICOM segmentation: the images have invalid tags ({reason(error)})"
    segmentation.save_as(path)
    return None


class _CannotRefer(ValueError):
    """The images lack attributes that a segmentation copies."""


def _segmentation(
    scan: Scan, labels: np.ndarray, class_names: Sequence[str]
) -> hd.seg.Segmentation:
    # in the order and orientation of the series, not of the scan
    files = [scan.dicom_files[scan.geometry.input_slice(z)] for z in range(len(scan))]
    images = [pydicom.dcmread(file, stop_before_pixels=True, force=True) for file in files]
    missing = sorted({name for image in images for name in NEEDED if name not in image})
    if missing:
        raise _CannotRefer(f"the images have no {', '.join(missing)}")
    for image in images:
        for name in MAY_BE_EMPTY:
            if name not in image:
                setattr(image, name, None)
    present = [c for c in range(len(class_names)) if (labels == c + 1).any()]
    frames = scan.geometry.to_input(labels)
    # segments are numbered without gaps
    masks = np.stack([frames == c + 1 for c in present], axis=-1)
    return hd.seg.Segmentation(
        source_images=images,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, class_names[c]) for number, c in enumerate(present, start=1)
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


def _segment(number: int, class_name: str) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=class_name,
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="ct_lesion",
            version=__version__,
            family=codes.DCM.ArtificialIntelligence,
        ),
    )
