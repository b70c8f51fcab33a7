"""Toy scans of 32 x 32 pixels in every kind of file, for the tests of the reader."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from ct_lesion.scans.scan import Scan
from ct_lesion.scans.windows import window_to_uint8

SIDE = 32
UID_ROOT = "1.2.826.0.1.3680043.8.498."


def toy_hu(slices: int = 12, seed: int = 0) -> np.ndarray:
    """``(S, 32, 32)`` int16 HU: a body with a lung, in air. Noise makes swapped axes visible."""
    rng = np.random.default_rng(seed)
    hu = rng.integers(-1010, -990, (slices, SIDE, SIDE)).astype(np.int16)
    hu[:, 4:28, 3:30] = rng.integers(20, 80, (slices, 24, 27))
    hu[:, 9:20, 6:17] = rng.integers(-880, -820, (slices, 11, 11))
    return hu


def toy_grey() -> np.ndarray:
    """``toy_hu()`` through the lung window, ``(12, 32, 32)`` uint8."""
    return window_to_uint8(toy_hu())


def all_values(scan: Scan) -> np.ndarray:
    """All slices of a scan, ``(S, H, W)``."""
    return np.stack([scan.values(index) for index in range(len(scan))])


def write_pictures(
    folder: Path, slices: Iterable[np.ndarray], ending: str = "png", first: int = 0
) -> Path:
    """Write slices as ``<first>.png``, ``<first + 1>.png``, ... without leading zeros."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, pixels in enumerate(slices):
        Image.fromarray(pixels).save(folder / f"{index + first}.{ending}")
    return folder


def oblique_direction(degrees: float = 12.0) -> tuple[float, ...]:
    """LPS axes turned about all three axes."""
    matrix = Rotation.from_euler("xyz", [degrees, -degrees / 2, degrees / 3], degrees=True)
    return tuple(matrix.as_matrix().ravel())


def write_volume(
    path: Path,
    voxels: np.ndarray,
    direction: Iterable[float] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
    spacing: tuple[float, float, float] = (0.7, 0.8, 2.5),
    compress: bool = False,
) -> Path:
    """Write ``(z, y, x)`` voxels with a geometry whose numbers all differ."""
    image = sitk.GetImageFromArray(voxels)
    image.SetDirection(tuple(map(float, direction)))
    image.SetSpacing(spacing)
    image.SetOrigin((-11.0, 22.0, -33.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def toy_slice(hu: np.ndarray, z: int, series: int = 1) -> Dataset:
    """A CT slice in DICOM: 16-bit unsigned, HU = stored value - 1024, 2.5 mm apart."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    uid = generate_uid(UID_ROOT, [str(series), str(z)])
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid
    ds.SeriesInstanceUID = generate_uid(UID_ROOT, [f"series {series}"])
    ds.StudyInstanceUID = generate_uid(UID_ROOT, ["study"])
    ds.FrameOfReferenceUID = generate_uid(UID_ROOT, ["frame"])
    ds.PatientID, ds.PatientName, ds.Modality = "P7", "Toy^Patient", "CT"
    ds.SeriesNumber, ds.SeriesDescription = series, f"Toy {series}"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.InstanceNumber = z + 1
    ds.Rows, ds.Columns = hu.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    ds.PixelSpacing, ds.SliceThickness = [0.8, 0.7], 2.5
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.ImagePositionPatient = [-11, 22, -33 + 2.5 * z]
    ds.PixelData = (hu.astype(np.int32) + 1024).clip(0).astype(np.uint16).tobytes()
    return ds


def write_series(
    folder: Path,
    hu: np.ndarray,
    series: int = 1,
    edit: Callable[[Dataset, int], object] | None = None,
    leave_out: Iterable[int] = (),
) -> Path:
    """Write a series whose file names are not in the order of its slices.

    Args:
        edit: changes each slice before it is written.
        leave_out: slices that are missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for z, pixels in enumerate(hu):
        if z in leave_out:
            continue
        ds = toy_slice(pixels, z, series)
        if edit:
            edit(ds, z)
        ds.save_as(folder / f"s{series}_{z * 7 % 997:03d}.dcm", enforce_file_format=True)
    return folder


def toy_phase(
    hu: np.ndarray,
    acquisition: int | None,
    *,
    first_number: int = 1,
    shift: float = 0.0,
    **tags: object,
) -> list[Dataset]:
    """The slices of an acquisition; all acquisitions have the same SeriesInstanceUID.

    Args:
        acquisition: AcquisitionNumber; None leaves the tag out.
        first_number: InstanceNumber of the first slice.
        shift: shift of the table, in mm.
        tags: further tags of all slices; None removes a tag.
    """
    slices = []
    for z, pixels in enumerate(hu):
        ds = toy_slice(pixels, z)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.InstanceNumber = first_number + z
        ds.ImagePositionPatient = [-11, 22, -33 + 2.5 * z + shift]
        for tag, value in {"AcquisitionNumber": acquisition, **tags}.items():
            if value is not None:
                setattr(ds, tag, value)
            elif tag in ds:
                delattr(ds, tag)
        slices.append(ds)
    return slices


def write_slices(folder: Path, slices: Iterable[Dataset], name: str = "{:03d}.dcm") -> Path:
    """Write slices as ``000.dcm``, ``001.dcm``, ... in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, ds in enumerate(slices):
        ds.save_as(folder / name.format(index), enforce_file_format=True)
    return folder
