"""Volumes are complete or absent, whatever ITK says."""

import errno
import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from full_disk import files_of_at_most
from nifti_bytes import edited, header_of
from toy_scans import write_volume as write_toy

from ct_lesion.errors import UserError
from ct_lesion.scans.volume_writing import write_volume

# random voxels, so that the compressed file is large; the last slices are 0, because ITK reads the
# missing end of a truncated file as 0
VOXELS = np.random.default_rng(0).integers(0, 9, (12, 64, 64)).astype(np.int16)
VOXELS[8:] = 0


def image(voxels: np.ndarray = VOXELS) -> sitk.Image:
    result = sitk.GetImageFromArray(voxels)
    result.SetSpacing((0.7, 0.8, 2.5))
    return result


def test_a_volume_is_written_with_its_geometry(tmp_path):
    path = tmp_path / "lesions.nii.gz"
    write_volume(path, image())
    found = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(found), VOXELS)
    assert found.GetSpacing() == pytest.approx((0.7, 0.8, 2.5))
    assert gzip.decompress(path.read_bytes())[352:] == VOXELS.tobytes()
    assert list(tmp_path.iterdir()) == [path]


TURNED = [-0.7, 0, 0, 11, 0, -0.8, 0, -22, 0, 0, -2.5, 0]


def test_labels_get_both_places_of_the_input(tmp_path):
    scan = edited(write_toy(tmp_path / "scan.nii", VOXELS), codes=(1, 2), sform=TURNED)
    labels = sitk.Cast(sitk.ReadImage(str(scan)), sitk.sitkUInt8)
    path = tmp_path / "lesions.nii.gz"
    write_volume(path, labels, header_of(scan))
    np.testing.assert_array_equal(
        header_of(path).forms["sform"], np.reshape(TURNED, (3, 4)).astype("f4")
    )
    np.testing.assert_array_equal(header_of(path).forms["qform"], header_of(scan).forms["qform"])
    found = sitk.ReadImage(str(path))
    assert found.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(sitk.GetArrayFromImage(found), VOXELS)
    once = path.read_bytes()
    write_volume(path, labels, header_of(scan))
    assert path.read_bytes() == once
    with files_of_at_most(len(once) - 100), pytest.raises(OSError, match="too large"):
        write_volume(path, labels, header_of(scan))
    assert path.read_bytes() == once


@pytest.mark.parametrize("missing", [1, 8, 2_000, 5_000])
def test_a_volume_that_does_not_fit_raises_the_systems_error(tmp_path, missing):
    path = tmp_path / "lesions.nii.gz"
    write_volume(path, image())
    limit = path.stat().st_size - missing
    write_volume(path, image(VOXELS[:2]))
    earlier = path.read_bytes()
    with files_of_at_most(limit), pytest.raises(OSError, match="too large") as error:
        write_volume(path, image())
    assert error.value.errno == errno.EFBIG
    assert error.value.filename == str(path)
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("cut", [1, 8, 30, 5_000])
def test_a_truncated_volume_is_noticed(tmp_path, monkeypatch, cut):
    """The last bytes are the checksum and slices of zeros, which ITK reads without an error."""
    write = sitk.WriteImage

    def truncated(written, name, **options):
        write(written, name, **options)
        with Path(name).open("rb+") as file:
            file.truncate(file.seek(0, 2) - cut)

    monkeypatch.setattr(sitk, "WriteImage", truncated)
    with pytest.raises(UserError, match=r"lesions.nii.gz was not written \(incomplete\)"):
        write_volume(tmp_path / "lesions.nii.gz", image())
    assert list(tmp_path.iterdir()) == []


def test_other_voxels_are_noticed(tmp_path, monkeypatch):
    write = sitk.WriteImage
    changed = VOXELS.copy()
    changed[3, 4, 5] += 1
    monkeypatch.setattr(sitk, "WriteImage", lambda _, name, **o: write(image(changed), name, **o))
    with pytest.raises(UserError, match="was not written"):
        write_volume(tmp_path / "lesions.nii.gz", image())
