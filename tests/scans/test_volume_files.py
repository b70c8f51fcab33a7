"""Volumes: exact HU in every format, masks on the input's grid, and refusals."""

import gzip
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import SimpleITK as sitk
from toy_scans import all_values, oblique_direction, toy_hu, write_volume

from ct_lesion.errors import DatasetError
from ct_lesion.scans import volume_files
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import open_scan
from ct_lesion.scans.volume_files import VolumeFile
from ct_lesion.scans.windows import WINDOWS, window_to_uint8

DIRECTIONS = {
    "LPS": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "flipped": (-1, 0, 0, 0, -1, 0, 0, 0, -1),
    "sagittal": (0, 0, 1, 1, 0, 0, 0, -1, 0),
    "oblique": oblique_direction(),
}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_values_and_masks_keep_every_voxel(tmp_path, ending, direction):
    stored = toy_hu()
    path = write_volume(tmp_path / f"a.{ending}", stored, DIRECTIONS[direction])
    scan = open_scan(path)
    image = sitk.ReadImage(str(path))
    expected = sitk.GetArrayFromImage(sitk.DICOMOrient(image, "LPS"))
    np.testing.assert_array_equal(all_values(scan), expected)
    assert scan.values(0).dtype == np.int16
    assert scan.shape == expected.shape
    assert scan.is_hu and scan.kind == "volume" and scan.name == "a"

    lesion = (expected > 0).astype(np.uint8)
    written = tmp_path / "mask.nii.gz"
    sitk.WriteImage(scan.mask_image(lesion), str(written))
    mask = sitk.ReadImage(str(written))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), stored > 0)
    for what in ("Size", "Spacing", "Origin", "Direction"):
        assert getattr(mask, f"Get{what}")() == pytest.approx(
            getattr(image, f"Get{what}")(), abs=1e-5
        )


def test_geometry_in_mm(tmp_path):
    scan = open_scan(write_volume(tmp_path / "a.nrrd", toy_hu(), DIRECTIONS["flipped"]))
    assert scan.spacing_mm == (2.5, 0.8, 0.7)
    # the origin, at z = -33 mm, is that of the highest slice here
    assert scan.z_mm == pytest.approx([-33 - 2.5 * k for k in range(11, -1, -1)])


def test_grey_uses_the_window_of_the_options(tmp_path):
    path = write_volume(tmp_path / "a.nii", toy_hu())
    np.testing.assert_array_equal(open_scan(path).grey(3), window_to_uint8(toy_hu()[3]))
    scan = open_scan(path, ReadOptions(window=WINDOWS["mediastinum"]))
    np.testing.assert_array_equal(scan.grey(3), window_to_uint8(toy_hu()[3], 40, 400))
    np.testing.assert_array_equal(scan.grey(3, WINDOWS["lung"]), window_to_uint8(toy_hu()[3]))


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_whole_numbers_are_kept_exactly_in_any_type(tmp_path, dtype, ending):
    scan = open_scan(write_volume(tmp_path / f"a.{ending}", toy_hu().astype(dtype)))
    np.testing.assert_array_equal(all_values(scan), toy_hu())


def test_fractions_stay_fractions(tmp_path):
    hu = toy_hu().astype(np.float32) + np.float32(0.25)
    for ending in ("nii", "nii.gz"):
        scan = open_scan(write_volume(tmp_path / f"a.{ending}", hu))
        np.testing.assert_array_equal(all_values(scan), hu)


def test_streamed_files_are_not_kept_in_memory(tmp_path):
    kept = {}
    for name, compress in [
        ("a.nii", False), ("a.nii.gz", False), ("a.mha", False), ("b.mha", True), ("a.nrrd", False)
    ]:  # fmt: skip
        volume = VolumeFile(write_volume(tmp_path / name, toy_hu(), compress=compress))
        kept[name] = volume._voxels is not None and volume._voxels.dtype == np.int16
        np.testing.assert_array_equal(volume.slice(5), toy_hu()[5])
    assert kept == {
        "a.nii": False, "a.nii.gz": False, "a.mha": False, "b.mha": True, "a.nrrd": True
    }  # fmt: skip


def test_padding_and_metal_are_hu(tmp_path):
    hu = toy_hu()
    hu[:, 0] = -3024
    hu[4, 15, 15] = 30000
    assert open_scan(write_volume(tmp_path / "a.nii", hu)).values(4).max() == 30000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v + 1024, r"values from 14 to 1103 cannot be HU.*--hu 1024"),
        (lambda v: ((v + 1024) // 5).clip(0, 255), r"values from 2 to 220 cannot be HU"),
        (lambda v: v.astype(np.int32) * 40, r"values from -40400 to 3160 cannot be HU"),
        (lambda v: v.astype(np.int32) + 40000, r"cannot be HU"),
        (lambda v: (v / 1000).astype(np.float32), r"values from -1.01 to 0.079 cannot be HU"),
        (lambda v: np.where(v > 70, np.nan, v).astype(np.float32), r"NaN or infinite"),
        (lambda v: np.where(v > 70, np.inf, v).astype(np.float32), r"NaN or infinite"),
        (lambda v: (v > 0).astype(np.uint8), r"8-bit values end at 1: a label mask"),
        (lambda v: (v > 0).astype(np.int16), r"values from 0 to 1 cannot be HU"),
    ],
)
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_values_that_cannot_be_hu_are_refused_with_their_range(tmp_path, ending, change, message):
    path = write_volume(tmp_path / f"a.{ending}", change(toy_hu()))
    with pytest.raises(DatasetError, match=message):
        open_scan(path)


def test_shifted_values_are_read_with_hu_offset(tmp_path):
    path = write_volume(tmp_path / "a.nii", (toy_hu() + 1024).astype(np.uint16))
    scan = open_scan(path, ReadOptions(hu_offset=1024))
    np.testing.assert_array_equal(all_values(scan), toy_hu())
    assert scan.values(0).dtype == np.int16
    assert "HU = stored value - 1024, as given by --hu" in scan.notes
    with pytest.raises(DatasetError, match="cannot be HU"):
        open_scan(path, ReadOptions(hu_offset=0))


def test_8_bit_volumes_count_as_windowed(tmp_path):
    grey = window_to_uint8(toy_hu())
    scan = open_scan(write_volume(tmp_path / "a.nii", grey), ReadOptions(hu_offset=3))
    np.testing.assert_array_equal(scan.grey(2), grey[2])
    assert not scan.is_hu and scan.window is None
    assert any("already windowed" in note for note in scan.notes)
    assert any("--hu" in note and "do not apply" in note for note in scan.notes)
    with pytest.raises(ValueError, match="8-bit"):
        scan.grey(2, WINDOWS["lung"])


def write_other(path, voxels, vector=False):
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=vector), str(path))
    return path


def test_four_dimensions_colours_and_single_slices_are_refused(tmp_path):
    hu = toy_hu()
    with pytest.raises(DatasetError, match=r"4 dimensions \(32 x 32 x 12 x 2\)"):
        open_scan(write_other(tmp_path / "a.nii", np.stack([hu, hu])))
    colours = np.repeat(hu[..., None], 3, axis=-1)
    with pytest.raises(DatasetError, match="3 numbers per voxel"):
        open_scan(write_other(tmp_path / "b.nii", colours, vector=True))
    with pytest.raises(DatasetError, match="is a 2-D image"):
        open_scan(write_other(tmp_path / "c.mha", hu[0]))


@pytest.mark.parametrize("ending", ["nii", "nii.gz", "mha", "nrrd"])
def test_a_fourth_dimension_of_length_1_is_ignored(tmp_path, ending):
    scan = open_scan(write_other(tmp_path / f"a.{ending}", toy_hu()[None]))
    np.testing.assert_array_equal(all_values(scan), toy_hu())


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_broken_files_are_refused(tmp_path, content):
    for ending in ("nii", "nii.gz", "nrrd", "mha"):
        whole = write_volume(tmp_path / f"a.{ending}", toy_hu(), compress=ending == "nrrd")
        path = tmp_path / f"broken.{ending}"
        data = whole.read_bytes()
        path.write_bytes(data[: len(data) // 2] if content is None else content)
        with pytest.raises(DatasetError, match=r"broken.*cannot be read") as caught:
            open_scan(path)
        assert "\n" not in str(caught.value)


def test_header_and_voxels_in_two_files_are_one_scan(tmp_path):
    path = write_volume(tmp_path / "a.mhd", toy_hu())
    scan = open_scan(path)
    assert scan.files == (path, tmp_path / "a.raw")
    np.testing.assert_array_equal(all_values(scan), toy_hu())


def test_values_are_checked_in_slabs(tmp_path, monkeypatch):
    monkeypatch.setattr(volume_files, "_CHECKED_AT_ONCE", 5)
    hu = toy_hu()
    hu[11, 0, 0] = 2500
    volume = VolumeFile(write_volume(tmp_path / "a.nii", hu))
    assert [len(slab) for slab in volume.slabs()] == [5, 5, 2]
    assert volume.value_range() == (hu.min(), 2500)


def test_slice_indices_out_of_range_are_refused(tmp_path):
    scan = open_scan(write_volume(tmp_path / "a.nii", toy_hu()))
    for index in (-1, 12):
        with pytest.raises(IndexError):
            scan.values(index)


@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_nifti_slope_and_intercept_are_applied(tmp_path, ending):
    path = write_volume(tmp_path / "plain.nii", toy_hu() + 1024)
    header = bytearray(path.read_bytes())
    header[112:120] = np.array([2.0, -1024.0], "<f4").tobytes()
    scaled = tmp_path / f"a.{ending}"
    scaled.write_bytes(gzip.compress(header) if ending == "nii.gz" else header)
    expected = 2 * (toy_hu().astype(int) + 1024) - 1024
    np.testing.assert_array_equal(all_values(open_scan(scaled)), expected)


@pytest.mark.parametrize("direction", ["LPS", "sagittal"])
def test_slices_may_be_read_from_several_threads(tmp_path, direction):
    hu = np.repeat(toy_hu(24), 4, axis=1)
    scan = open_scan(write_volume(tmp_path / "a.nii", hu, DIRECTIONS[direction]))
    alone = all_values(scan)
    indices = [*range(len(scan)), *reversed(range(len(scan)))] * 10
    scan = open_scan(tmp_path / "a.nii")
    with ThreadPoolExecutor(4) as pool:
        for index, pixels in zip(indices, pool.map(scan.values, indices), strict=True):
            np.testing.assert_array_equal(pixels, alone[index])


def test_the_unpacked_copy_is_deleted_with_the_volume(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    volume = VolumeFile(write_volume(tmp_path / "a.nii.gz", toy_hu(), compress=True))
    assert len(list(folder.iterdir())) == 1
    np.testing.assert_array_equal(volume.slice(3), toy_hu()[3])
    del volume
    assert list(folder.iterdir()) == []


def test_a_slice_outlives_its_volume(tmp_path):
    path = write_volume(tmp_path / "a.nrrd", toy_hu())
    pixels = VolumeFile(path).slice(3)
    _ = [np.full((12, 32, 32), 9, np.int16) for _ in range(50)]  # reuse freed memory, if any
    np.testing.assert_array_equal(pixels, toy_hu()[3])


def test_a_full_disk_makes_the_volume_stay_in_memory(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = write_volume(tmp_path / "a.nii.gz", toy_hu(), compress=True)
    monkeypatch.setattr(volume_files, "unpack_nifti", full)
    np.testing.assert_array_equal(VolumeFile(path).slice(3), toy_hu()[3])


def scaled_nifti(path, slope, intercept, dtype=np.int16):
    write_volume(path, toy_hu().astype(dtype))
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rb") as file:
        content = bytearray(file.read())
    struct.pack_into("<2f", content, 112, slope, intercept)
    with opened(path, "wb") as file:
        file.write(content)
    return path


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("slope", "intercept"), [(0, -1024), (0, 5), (np.nan, -1024), (0, 0)])
def test_nifti_with_slope_0_is_not_scaled(tmp_path, slope, intercept, ending, dtype):
    scan = open_scan(scaled_nifti(tmp_path / f"a{ending}", slope, intercept, dtype))
    np.testing.assert_array_equal(all_values(scan), toy_hu())


def test_nifti_with_a_slope_is_scaled(tmp_path):
    scan = open_scan(scaled_nifti(tmp_path / "a.nii", 0.5, -10))
    np.testing.assert_array_equal(all_values(scan), toy_hu() / 2 - 10)


def test_an_offset_for_values_in_hu_is_refused(tmp_path):
    path = write_volume(tmp_path / "a.nii", toy_hu())
    with pytest.raises(DatasetError, match=r"are HU already.*Leave out --hu 1024"):
        open_scan(path, ReadOptions(hu_offset=1024))


def test_padding_does_not_hide_shifted_values(tmp_path):
    shifted = toy_hu() + 1024
    shifted[:, :3, :3] = -2000
    path = write_volume(tmp_path / "a.nii", shifted)
    with pytest.raises(DatasetError, match=r"values from 1\d to .*below -1100 count as padding"):
        open_scan(path)
    scan = open_scan(path, ReadOptions(hu_offset=1024))
    assert scan.values(0)[15, 15] == toy_hu()[0, 15, 15]


def test_values_far_from_air_give_a_finding(tmp_path):
    scan = open_scan(write_volume(tmp_path / "a.nii", toy_hu() // 2))
    (finding,) = [f.message for f in scan.qc if f.code == "values"]
    assert "every chest has lung and air" in finding


@pytest.mark.parametrize("spelling", ["True", "true", "1"])
def test_a_compressed_metaimage_is_read_whole_in_any_spelling(tmp_path, spelling):
    path = tmp_path / "a.mha"
    sitk.WriteImage(sitk.GetImageFromArray(toy_hu()), str(path), useCompression=True)
    line = b"CompressedData = "
    path.write_bytes(path.read_bytes().replace(line + b"True", line + spelling.encode()))
    volume = VolumeFile(path)
    np.testing.assert_array_equal(np.concatenate(list(volume.slabs())), toy_hu())
    path.unlink()
    np.testing.assert_array_equal(volume.slice(3), toy_hu()[3])  # not read slice by slice
