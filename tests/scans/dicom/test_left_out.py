"""Files of a DICOM folder that are not slices of a scan: foreign images, lost slices, an index."""

import os

import numpy as np
import pydicom
import pytest
from opened_scans import codes, message
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from toy_scans import all_values, toy_hu, toy_phase, write_slices

from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans, open_scan

ORDINARY = {"spacing"}  # the toy's pixels are not square

A, B = toy_hu(16, seed=1), toy_hu(16, seed=2)


def coronal(ds):
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def unmarked_localizer(ds):
    ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    ds.Rows, ds.PixelData = 16, ds.PixelData[: 16 * 64]
    del ds.ImageType


def dose_page(ds):
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    del ds.ImagePositionPatient, ds.ImageOrientationPatient, ds.RescaleSlope, ds.RescaleIntercept


def colour_page(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelData = 7, bytes(32 * 32 * 3)


def report(ds):
    ds.Modality = "SR"
    del ds.Rows, ds.Columns, ds.PixelData


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("edit", [coronal, unmarked_localizer, dose_page, colour_page, report])
def test_a_foreign_image_in_the_series_is_left_out_and_named(tmp_path, edit, first):
    slices = toy_phase(A, 1)
    foreign = toy_phase(B[:1], 1, first_number=99)[0]
    edit(foreign)
    folder = write_slices(tmp_path / "ct", slices)
    name = "0.dcm" if first else "z.dcm"
    foreign.save_as(folder / name, enforce_file_format=True)
    scan = open_scan(folder)
    np.testing.assert_array_equal(all_values(scan), A)
    text = message(scan, "foreign_images")
    assert text.startswith(f"1 image was left out of the scan: {name} (")


def test_foreign_images_of_several_kinds_are_left_out(tmp_path):
    folder = write_slices(tmp_path / "ct", toy_phase(A, 1))
    for number, edit in enumerate((coronal, unmarked_localizer, dose_page, colour_page, report)):
        foreign = toy_phase(B[:1], 1, first_number=99)[0]
        edit(foreign)
        foreign.save_as(folder / f"odd{number}.dcm", enforce_file_format=True)
    scan = open_scan(folder)
    np.testing.assert_array_equal(all_values(scan), A)
    assert all(f"odd{number}.dcm" in message(scan, "foreign_images") for number in range(5))


def test_many_reports_in_the_series_are_named_with_the_scan(tmp_path):
    slices = toy_phase(A, 1) + toy_phase(B[:6], 1)
    for ds in slices[16:]:
        report(ds)
    scan = open_scan(write_slices(tmp_path / "ct", slices))
    np.testing.assert_array_equal(all_values(scan), A)
    assert "modality SR, not CT" in scan.notes[0]
    assert "split_series" in codes(scan)


def directory(folder):
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "1.2"
    index.FileSetID = "CD"
    index.save_as(folder / "DICOMDIR", enforce_file_format=True)
    return folder / "DICOMDIR"


def test_a_dicomdir_is_an_index_and_no_scan(tmp_path):
    index = directory(write_slices(tmp_path / "ct", toy_phase(A, 1)))
    scan = open_scan(tmp_path / "ct")
    np.testing.assert_array_equal(all_values(scan), A)
    assert "DICOMDIR: skipped, an index of other files" in scan.notes[0]
    with pytest.raises(DatasetError, match=r"no scan found.*DICOMDIR: skipped"):
        open_scan(index)


@pytest.mark.parametrize("ending", [".dcm", ""])
@pytest.mark.parametrize("damage", ["cut", "empty", "link"])
def test_lost_slices_are_named_with_the_scan(tmp_path, damage, ending):
    folder = write_slices(tmp_path / "ct", toy_phase(A, 1), "{:03d}" + ending)
    lost = folder / f"007{ending}"
    content = lost.read_bytes()
    lost.unlink()
    if damage == "link":
        lost.symlink_to(tmp_path / "nowhere")
    else:
        lost.write_bytes(content[:200] if damage == "cut" else b"")
    notes = []
    sources = find_scans([folder], options=ReadOptions(), notes=notes)
    scan = next(s for s in sources if len(s.files) == 15).open()
    assert f"cannot be read, so slices may be missing: {lost.name}" in message(
        scan, "unreadable_files"
    )
    assert "missing_slices" in codes(scan)
    assert scan.incomplete
    for source in sources:
        if source.files == (lost,):
            with pytest.raises(DatasetError, match=lost.name):
                source.open()


def test_files_of_other_kinds_are_not_lost_slices(tmp_path):
    folder = write_slices(tmp_path / "ct", toy_phase(A, 1))
    (folder / "empty.txt").touch()
    (folder / ".hidden").touch()
    scan = open_scan(folder)
    assert codes(scan) == ORDINARY
    assert not scan.incomplete


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    folder = write_slices(tmp_path / "ct", toy_phase(A, 1))
    (folder / "more").mkdir()
    scandir = os.scandir

    def denied(path):
        if os.path.basename(path) == "more":  # noqa: PTH119
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    scan = open_scan(folder)
    assert "more: folder cannot be read (Permission denied)" in scan.notes[0]
    assert "1 folder beside the slices cannot be read" in message(scan, "unreadable_files")
    assert scan.incomplete


def test_a_replaced_sop_class_is_named(tmp_path):
    slices = toy_phase(A[:3], 1)
    for ds in slices:
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.3.6.1.4.1.9999.5"
    with pytest.raises(DatasetError, match=r"Its SOPClassUID 1\.3\.6\.1\.4\.1\.9999\.5 is not"):
        open_scan(write_slices(tmp_path / "ct", slices))


def test_each_header_is_read_twice(tmp_path, monkeypatch):
    """Once for grouping and once for checking; more reads would be slow in large archives."""
    folder = write_slices(tmp_path / "ct", toy_phase(A, 1))
    read = []
    original = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: read.append(1) or original(*a, **k))
    open_scan(folder)
    assert len(read) == 2 * len(A)
