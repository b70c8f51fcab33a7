"""DICOM series: HU in every encoding, slice positions, and warnings."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)
from toy_scans import all_values, oblique_direction, toy_hu, write_series

from ct_lesion.scans.scan import Scan
from ct_lesion.scans.sources import open_scan


def codes(scan: Scan) -> set[str]:
    return {finding.code for finding in scan.qc}


def message(scan: Scan, code: str) -> str:
    return next(finding.message for finding in scan.qc if finding.code == code)


def test_slices_are_sorted_by_position_with_their_files(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu()))
    np.testing.assert_array_equal(all_values(scan), toy_hu())
    assert scan.values(0).dtype == np.int16
    assert (scan.name, scan.kind, scan.patient, scan.is_hu) == ("ct", "dicom", "P7", True)
    assert scan.spacing_mm == (2.5, 0.8, 0.7)
    assert scan.z_mm == pytest.approx([-33 + 2.5 * k for k in range(12)])
    numbers = [int(pydicom.dcmread(image.path).InstanceNumber) for image in scan.dicom_images]
    assert numbers == list(range(1, 13))
    assert len(set(scan.slice_names)) == 12


ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "head last": (-1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": tuple(np.reshape(oblique_direction(), (3, 3)).T.ravel()[:6]),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_every_orientation_matches_simpleitk(tmp_path, name):
    cosines = np.array(ORIENTATIONS[name])
    normal = np.cross(cosines[:3], cosines[3:])

    def place(ds, z):
        ds.ImageOrientationPatient = [f"{c:.10f}" for c in cosines]
        ds.ImagePositionPatient = [f"{c:.8f}" for c in [-11, 22, -33] + 2.5 * z * normal]

    folder = write_series(tmp_path / "ct", toy_hu(), edit=place)
    scan = open_scan(folder)
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    oriented = sitk.DICOMOrient(image, "LPS")
    np.testing.assert_array_equal(all_values(scan), sitk.GetArrayFromImage(oriented))
    assert scan.spacing_mm == pytest.approx(oriented.GetSpacing()[::-1])

    mask = scan.mask_image((all_values(scan) > 0).astype(np.uint8))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), sitk.GetArrayFromImage(image) > 0)
    for what in ("Size", "Spacing", "Origin", "Direction"):
        expected = getattr(image, f"Get{what}")()
        assert getattr(mask, f"Get{what}")() == pytest.approx(expected, abs=1e-5)

    across = name in ("coronal", "sagittal")
    assert ("not_axial" in codes(scan)) == across
    assert (scan.dicom_images is None) == across
    assert ("oblique" in codes(scan)) == (name == "oblique")
    if not across:
        for index in (0, 11):
            pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(scan.dicom_images[index])))[0]
            assert sorted(pixels.ravel()) == sorted(scan.values(index).ravel())


def compress_with_simpleitk(ds: pydicom.Dataset, folder) -> None:
    """Compress a slice with GDCM: pydicom has no encoder for JPEG 2000 here."""
    stored = np.frombuffer(ds.PixelData, np.uint16).reshape(1, ds.Rows, ds.Columns)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(folder / "j2k.dcm"))
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG2000")
    writer.Execute(sitk.GetImageFromArray(stored))
    compressed = pydicom.dcmread(folder / "j2k.dcm")
    ds.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    ds.PixelData = compressed.PixelData
    ds["PixelData"].is_undefined_length = True


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_every_encoding_gives_the_same_hu(tmp_path, syntax, photometric):
    """MONOCHROME1 shows low values white; the values mean the same HU."""

    def encode(ds, z):
        ds.PhotometricInterpretation = photometric
        if syntax == JPEG2000Lossless:
            compress_with_simpleitk(ds, tmp_path)
        elif syntax:
            ds.compress(syntax)
        if syntax:
            assert ds.file_meta.TransferSyntaxUID == syntax

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(3), edit=encode))
    np.testing.assert_array_equal(all_values(scan), toy_hu(3))


def store_signed(ds, z):
    """12 bits signed with another slope and intercept: HU = 0.5 x stored - 24."""
    stored = ((toy_hu()[z].astype(int) + 24) * 2).astype(np.int16)
    ds.PixelData, ds.PixelRepresentation = stored.tobytes(), 1
    ds.BitsStored, ds.HighBit = 12, 11
    ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-24"


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_slope_intercept_and_signed_values(tmp_path, photometric):
    def edit(ds, z):
        store_signed(ds, z)
        ds.PhotometricInterpretation = photometric

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(), edit=edit))
    np.testing.assert_allclose(all_values(scan), toy_hu(), atol=0)


def test_missing_slices_are_counted(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu(15), leave_out=[4, 8, 9]))
    assert message(scan, "missing_slices").startswith("3 slices seem to be missing: 2 steps")
    assert scan.incomplete
    assert scan.spacing_mm[0] == 2.5
    assert scan.z_mm[4] == pytest.approx(-33 + 2.5 * 5), "each slice stays where it is"
    # the written grid has equal steps of the mean, as in SimpleITK's reader
    assert scan.mask_image(np.zeros(scan.shape, np.uint8)).GetSpacing()[2] == pytest.approx(
        14 * 2.5 / 11
    )


def test_uneven_steps_are_reported(tmp_path):
    def shift(ds, z):
        ds.ImagePositionPatient = [-11, 22, 2.5 * z + (0.4 if z == 6 else 0)]

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(), edit=shift))
    assert message(scan, "uneven_slices").startswith("2 of 11 steps")


def test_copies_of_slices_are_left_out(tmp_path):
    folder = write_series(tmp_path / "ct", toy_hu())
    for path in sorted(folder.iterdir())[:3]:
        path.with_name(f"copy_of_{path.name}").write_bytes(path.read_bytes())
    scan = open_scan(folder)
    np.testing.assert_array_equal(all_values(scan), toy_hu())
    (note,) = [note for note in scan.notes if "at the position of another" in note]
    assert note.startswith("left out 3 duplicate slices") and "all with identical pixels" in note
    assert (len(scan.files), scan.dropped_slices) == (15, 3)


def test_gantry_tilt_gives_a_warning(tmp_path):
    def tilt(ds, z):  # couch moves along z, slices are turned by 15 degrees about x
        c, s = np.cos(np.radians(15)), np.sin(np.radians(15))
        ds.ImageOrientationPatient = [1, 0, 0, 0, round(c, 8), round(s, 8)]
        ds.GantryDetectorTilt = 15

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(), edit=tilt))
    assert any("warning: gantry tilt of 15.0 degrees" in note for note in scan.notes)
    straight = open_scan(write_series(tmp_path / "straight", toy_hu()))
    assert not any("tilt" in note for note in straight.notes)


def test_files_without_preamble_or_ending_are_found(tmp_path):
    folder = write_series(tmp_path / "ct", toy_hu())
    for path in folder.glob("*.dcm"):
        path.rename(path.with_suffix(""))
    assert open_scan(folder).shape == (12, 32, 32)
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folder.iterdir():
        (bare / path.name).write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(all_values(open_scan(bare)), toy_hu())


def test_one_slice_is_a_scan(tmp_path):
    scan = open_scan(write_series(tmp_path / "ct", toy_hu(1)))
    assert scan.shape == (1, 32, 32)
    assert scan.spacing_mm == (2.5, 0.8, 0.7), "of one slice, its thickness"
    assert "few_slices" in codes(scan)


def test_without_pixel_spacing_there_is_no_spacing(tmp_path):
    def edit(ds, z):
        del ds.PixelSpacing

    scan = open_scan(write_series(tmp_path / "ct", toy_hu(), edit=edit))
    assert scan.spacing_mm is None
    assert "no spacing given" in message(scan, "spacing")
