"""DICOM files that are truncated while they are read, or too large."""

from pathlib import Path

import pydicom
import pytest
from toy_scans import toy_hu, write_series

from ct_lesion.errors import DatasetError
from ct_lesion.scans.dicom import headers
from ct_lesion.scans.dicom.headers import slice_headers
from ct_lesion.scans.dicom.images import DicomImage


@pytest.fixture
def slice_file(tmp_path: Path) -> Path:
    return sorted(write_series(tmp_path / "ct", toy_hu(4)).iterdir())[0]


def test_a_file_truncated_while_it_is_read_does_not_end_the_process(
    slice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pydicom.dcmread

    def truncate_and_read(*args: object, **options: object) -> pydicom.Dataset:
        with slice_file.open("rb+") as file:
            file.truncate(0)
        return read(*args, **options)

    monkeypatch.setattr(pydicom, "dcmread", truncate_and_read)
    assert slice_headers([DicomImage(slice_file)])[0].size == (32, 32)  # of the bytes read before


def test_files_larger_than_any_slice_are_refused(
    slice_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = slice_file.stat().st_size
    monkeypatch.setattr(headers, "LARGEST_FILE", size)
    slice_headers([DicomImage(slice_file)])
    monkeypatch.setattr(headers, "LARGEST_FILE", size - 1)
    with pytest.raises(DatasetError, match=f"more than {size - 1:,} bytes"):
        slice_headers([DicomImage(slice_file)])
