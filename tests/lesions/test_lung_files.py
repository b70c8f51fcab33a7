"""Lung masks: matched by name, and read onto the scan's grid from any voxel order."""

import numpy as np
import pytest
import SimpleITK as sitk
from toy_scans import toy_hu, write_series, write_volume

from ct_lesion.errors import DatasetError
from ct_lesion.lesions.lung_files import LungMasks
from ct_lesion.scans.sources import open_scan


def toy_lung() -> np.ndarray:
    """(12, 32, 32) uint8, without symmetry."""
    lung = np.zeros((12, 32, 32), np.uint8)
    lung[2:9, 9:20, 6:17] = 1
    return lung


@pytest.mark.parametrize("order", ["LPS", "LAS", "RPI", "PIR"])
def test_a_mask_of_a_converter_fits_a_dicom_scan(tmp_path, order):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu()))
    straight = sitk.ReadImage(str(write_volume(tmp_path / "lung.nrrd", toy_lung())))
    path = tmp_path / f"{order}.nii.gz"
    sitk.WriteImage(sitk.DICOMOrient(straight, order), str(path))
    np.testing.assert_array_equal(LungMasks(path, (scan.name,)).read(scan), toy_lung() > 0)


def test_a_mask_with_another_geometry_is_refused(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu()))
    path = write_volume(tmp_path / "lung.nii", toy_lung(), (1, 0, 0, 0, -1, 0, 0, 0, 1))
    # rows up instead of down from the same first voxel: 31 rows of 0.8 mm above it
    with pytest.raises(DatasetError, match=r"does not fit its scan ct: .* up to 24\.8 mm off"):
        LungMasks(path, (scan.name,)).read(scan)


def test_masks_in_a_folder_have_the_name_of_the_file_or_of_the_output(tmp_path):
    scan = open_scan(write_volume(tmp_path / "Anna & Bo.nii", toy_hu()))
    assert scan.name.startswith("Anna_Bo-")
    folder = tmp_path / "lungs"
    folder.mkdir()
    masks = LungMasks(folder, (scan.name, "other"))
    with pytest.raises(DatasetError, match="has no mask of the scan Anna_Bo-"):
        masks.of(scan.name)
    named = write_volume(folder / "Anna & Bo.nii.gz", toy_lung())
    assert masks.of(scan.name) == named
    write_volume(folder / f"{scan.name}.mha", toy_lung())
    with pytest.raises(DatasetError, match=r"has 2 masks \("):
        masks.of(scan.name)


def test_lobes_are_numbered_in_the_order_of_their_labels(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu()))
    lobes = np.zeros((12, 32, 32), np.uint8)
    for number, label in enumerate((7, 3, 20, 9, 11)):
        lobes[2 + number] = label
    masks = LungMasks(write_volume(tmp_path / "lobes.nii", lobes), (scan.name,), "--lobes")
    assert masks.read_lobes(scan)[:8, 0, 0].tolist() == [0, 0, 2, 1, 5, 3, 4, 0]
    lobes[6] = 7
    masks = LungMasks(write_volume(tmp_path / "four.nii", lobes), (scan.name,), "--lobes")
    with pytest.raises(DatasetError, match=r"four\.nii has 4 labels besides 0"):
        masks.read_lobes(scan)
