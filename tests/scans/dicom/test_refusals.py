"""Selecting CT series, and refusing other or damaged ones with the reason."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    JPEGLSLossless,
    MRImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
)
from toy_scans import all_values, toy_hu, toy_phase, write_series, write_slices, write_volume

from ct_lesion.errors import DatasetError
from ct_lesion.scans.dicom import grouping
from ct_lesion.scans.dicom.candidates import Candidate
from ct_lesion.scans.dicom.values import check_image_tags
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans, open_scan


def as_mr(ds, z):
    ds.Modality = "MR"
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = MRImageStorage


def without_pixels(ds, z):
    del ds.PixelData, ds.Rows, ds.Columns


def multi_frame(ds, z):
    sop_class = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
    ds.NumberOfFrames = 2


def localizer(ds, z):
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def called_scout(ds, z):
    ds.SeriesDescription = "Topogram 0.6"


FAULTS = [
    (called_scout, "a scout"),
    (as_mr, "modality MR, not CT"),
    (without_pixels, "holds no image"),
    (multi_frame, "multi-frame image of class Multi-frame Grayscale Word"),
    (localizer, "a scout"),
]


@pytest.mark.parametrize(("edit", "text"), FAULTS)
def test_other_series_are_skipped_in_a_folder_and_refused_if_named(tmp_path, edit, text):
    write_series(tmp_path / "other", toy_hu(1), 9, edit)
    with pytest.raises(DatasetError, match=f"no scan found.*{text}"):
        find_scans([tmp_path], options=ReadOptions())
    (named,) = find_scans([next((tmp_path / "other").iterdir())], options=ReadOptions())
    with pytest.raises(DatasetError, match=text):
        named.open()

    write_series(tmp_path / "ct", toy_hu())
    notes = []
    (source,) = find_scans([tmp_path], options=ReadOptions(), notes=notes)
    assert source.open().shape == (12, 32, 32)
    assert len(notes) == 1 and text in notes[0]


def test_a_scout_in_the_series_of_the_scan_is_left_out(tmp_path):
    folder = write_series(
        tmp_path / "ct", toy_hu(13), edit=lambda ds, z: localizer(ds, z) if z == 12 else None
    )
    scan = open_scan(folder)
    np.testing.assert_array_equal(all_values(scan), toy_hu(13)[:12])
    (finding,) = [f.message for f in scan.qc if f.code == "foreign_images"]
    assert finding.startswith("1 image was left out") and "s1_084.dcm (a scout" in finding


def test_a_long_series_described_as_scout_is_a_scan(tmp_path):
    def edit(ds, z):
        ds.SeriesDescription = "Chest after scout"

    assert len(open_scan(write_series(tmp_path / "ct", toy_hu(), edit=edit))) == 12


def test_a_series_is_selected_by_uid(tmp_path):
    for series in (1, 2):
        write_series(tmp_path / "ct", toy_hu(seed=series), series)
    both = find_scans([tmp_path / "ct"], options=ReadOptions())
    assert [source.name for source in both] == ["ct-series1", "ct-series2"]
    uid = str(pydicom.dcmread(both[1].files[0]).SeriesInstanceUID)
    (one,) = find_scans([tmp_path / "ct"], options=ReadOptions(series_uid=(uid,)))
    np.testing.assert_array_equal(all_values(one.open()), toy_hu(seed=2))
    uids = tuple(str(pydicom.dcmread(s.files[0]).SeriesInstanceUID) for s in both)
    assert len(find_scans([tmp_path / "ct"], options=ReadOptions(series_uid=uids))) == 2
    with pytest.raises(DatasetError, match=r"--series-uid 1\.2 was not found.*Toy 1.*Toy 2"):
        find_scans([tmp_path / "ct"], options=ReadOptions(series_uid=("1.2",)))
    volume = write_volume(tmp_path / "v.nii", toy_hu())
    with pytest.raises(DatasetError, match="The inputs hold no DICOM series"):
        find_scans([volume], options=ReadOptions(series_uid=("1.2",)))


def without_position(ds, z):
    del ds.ImagePositionPatient


def one_without_position(ds, z):
    if z == 5:
        del ds.ImagePositionPatient


def another_size(ds, z):
    if z == 5:
        ds.Rows, ds.PixelData = 16, ds.PixelData[: 16 * 64]


def another_spacing(ds, z):
    if z == 5:
        ds.PixelSpacing = [0.5, 0.5]


def without_rescale(ds, z):
    del ds.RescaleSlope, ds.RescaleIntercept


def cut_off(ds, z):
    ds.PixelData = ds.PixelData[:100]


def cut_off_compressed(ds, z):
    ds.compress(JPEGLSLossless)
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    ds.PixelData = encapsulate([frame[:100]])


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (without_position, "no ImagePositionPatient"),
        (another_size, r"s1_035\.dcm: 32 x 16 pixels, the others have 32 x 32.* lack a slice"),
        (another_spacing, r"s1_035\.dcm: its PixelSpacing differs.* lack a slice"),
        (one_without_position, r"s1_035\.dcm: no ImagePosition.* lack a slice"),
        (without_rescale, r"values from \d+ to \d+ cannot be HU.*Rescale"),
        (cut_off, "the file was cut off"),
        (cut_off_compressed, "pixels cannot be decoded"),
    ],
)
def test_unusable_series_are_refused_in_one_line(tmp_path, edit, text):
    write_series(tmp_path / "ct", toy_hu(), edit=edit)
    with pytest.raises(DatasetError, match=text) as caught:
        open_scan(tmp_path / "ct")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk" * 99, b"\0" * 128 + b"DICM" + b"junk" * 9])
def test_a_damaged_file_does_not_hide_the_others(tmp_path, content):
    write_series(tmp_path / "ct", toy_hu())
    (tmp_path / "ct" / "zz.dcm").write_bytes(content)
    scan, broken = find_scans([tmp_path], options=ReadOptions())
    assert (scan.name, broken.name) == ("ct", "ct-zz.dcm")
    assert scan.open().shape == (12, 32, 32)
    with pytest.raises(DatasetError, match=r"zz\.dcm cannot be read as DICOM"):
        broken.open()


def test_pixels_outside_the_lowest_bits_are_refused():
    header = Dataset()
    header.Rows = header.Columns = 4
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 15
    with pytest.raises(InvalidDicomError, match="HighBit is 15 but BitsStored 12"):
        check_image_tags("a.dcm", header)


def test_a_table_of_hu_is_refused():
    header = Dataset()
    header.Rows = header.Columns = 4
    header.ModalityLUTSequence = [Dataset()]
    with pytest.raises(InvalidDicomError, match="ModalityLUTSequence"):
        check_image_tags("a.dcm", header)


def test_a_series_of_images_that_are_all_different_is_refused_early(tmp_path, monkeypatch):
    slices = toy_phase(toy_hu(16), 1)
    for number, ds in enumerate(slices):
        ds.PixelSpacing = [1 + number / 10] * 2
    compared = []
    difference = Candidate.difference
    monkeypatch.setattr(
        Candidate, "difference", lambda a, b: compared.append(a) or difference(a, b)
    )
    monkeypatch.setattr(grouping, "_MOST_KINDS", 2)
    with pytest.raises(DatasetError, match=r"its PixelSpacing differs, .* more than 2 sizes"):
        open_scan(write_slices(tmp_path / "ct", slices))
    assert len(compared) <= 4
