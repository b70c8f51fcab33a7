"""Writes a synthetic scan as a DICOM CT series.

The files do not depend on date or machine: the same scan always gives the same bytes. The headers
mark every file as synthetic.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from ct_lesion.scans.geometry import Geometry
from ct_lesion.scans.windows import WINDOWS

RESCALE_INTERCEPT = -1024
_DATE, _TIME = "20200101", "120000"


def write_series(
    folder: Path, hu: np.ndarray, geometry: Geometry, *, patient_id: str, key: str
) -> None:
    """Write a scan with one file per slice, numbered from head to feet.

    Args:
        folder: folder to create.
        hu: ``(S, H, W)`` int16, at least -1024, in the order of ``geometry``.
        geometry: geometry of the scan; its slices must be axial.
        patient_id: value of PatientID.
        key: seed of the UIDs; the same key gives the same UIDs.
    """
    folder.mkdir(parents=True)
    for number, index in enumerate(reversed(range(len(hu))), start=1):
        image = _image(hu[index], geometry, patient_id, key)
        position = [*geometry.origin[:2], geometry.origin[2] + index * geometry.spacing[2]]
        image.SOPInstanceUID = _uid(key, f"image {number}")
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber = number
        image.ImagePositionPatient = [f"{mm:.4f}" for mm in position]
        image.SliceLocation = f"{position[2]:.4f}"
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def _uid(key: str, what: str) -> str:
    return generate_uid(entropy_srcs=["ct_lesion phantom", key, what])


def _image(hu: np.ndarray, geometry: Geometry, patient_id: str, key: str) -> Dataset:
    """Make a slice with its pixels and all attributes but number, UID and position."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = CTImageStorage
    image.SpecificCharacterSet = "ISO_IR 100"
    _describe(image, patient_id, key)
    columns_mm, rows_mm, slices_mm = geometry.spacing
    image.PixelSpacing = [f"{rows_mm:.3f}", f"{columns_mm:.3f}"]
    image.SliceThickness = image.SpacingBetweenSlices = f"{slices_mm:.3f}"
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns = hu.shape
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    image.RescaleSlope, image.RescaleIntercept = 1, RESCALE_INTERCEPT
    image.RescaleType = "HU"
    lung = WINDOWS["lung"]
    image.WindowCenter, image.WindowWidth = round(lung.level), round(lung.width)
    stored = hu.astype(np.int32) - RESCALE_INTERCEPT
    image.PixelData = stored.astype("<u2").tobytes()
    return image


def _describe(image: Dataset, patient_id: str, key: str) -> None:
    """Set patient, study and series, including attributes that DICOM requires even if empty."""
    image.PatientName, image.PatientID = f"SYNTHETIC^{patient_id}", patient_id
    image.PatientBirthDate = image.PatientSex = ""
    image.PatientPosition, image.PatientIdentityRemoved = "HFS", "YES"
    image.DeidentificationMethod = "SYNTHETIC: there is no patient"
    image.StudyInstanceUID, image.StudyID = _uid(key, "study"), patient_id
    image.SeriesInstanceUID, image.SeriesNumber = _uid(key, "series"), 1
    image.FrameOfReferenceUID = _uid(key, "frame of reference")
    image.PositionReferenceIndicator = image.AccessionNumber = image.ReferringPhysicianName = ""
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = _DATE
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = _TIME
    image.Modality, image.Manufacturer = "CT", "ct_lesion phantom"
    image.ManufacturerModelName = "SYNTHETIC"
    image.StudyDescription = "SYNTHETIC chest CT"
    image.SeriesDescription = "SYNTHETIC chest CT phantom"
    image.ImageComments = "SYNTHETIC: not of a person, not for clinical use"
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.BodyPartExamined, image.BurnedInAnnotation = "CHEST", "NO"
    image.KVP, image.AcquisitionNumber = "", 1
