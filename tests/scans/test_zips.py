"""DICOM files in a zip are read like those in a folder."""

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from enhanced_ct import write_enhanced
from toy_scans import all_values, toy_hu, toy_slice, write_pictures, write_series

from ct_lesion.errors import DatasetError
from ct_lesion.prediction.manifest import hash_files, stamps_of
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans, open_scan


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for member in sorted(folder.rglob("*")):
            file.write(member, member.relative_to(folder))
    return path


def test_a_zip_gives_the_numbers_of_its_folder(tmp_path):
    write_series(tmp_path / "in/p1/ct", toy_hu())
    inverted = lambda ds, z: setattr(ds, "PhotometricInterpretation", "MONOCHROME1")  # noqa: E731
    write_series(tmp_path / "in/p2", toy_hu(seed=2), 2, inverted)
    made = [toy_slice(hu, z, 3) for z, hu in enumerate(toy_hu(seed=3))]
    write_enhanced(tmp_path / "in/p3/e.dcm", made)
    write_pictures(tmp_path / "in/pictures", toy_hu(2).astype(np.uint8))
    path = zipped(tmp_path / "in", tmp_path / "export.zip")
    notes = []
    found = find_scans([path], options=ReadOptions(), notes=notes)
    assert [s.name for s in found] == ["export.zip-p1-ct", "export.zip-p2", "export.zip-p3"]
    assert "skipped 2 files that are not DICOM: 0.png, 1.png" in notes[0]
    for number, source in enumerate(found, start=1):
        folder = open_scan(tmp_path / f"in/p{number}")
        scan = source.open()
        assert np.array_equal(all_values(scan), all_values(folder))
        assert (scan.geometry, scan.slice_names) == (folder.geometry, folder.slice_names)
        assert hash_files(source.files) == hash_files(folder.files)
        assert None not in stamps_of(source.files)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["export.zip", "in"]


def test_zips_in_a_folder_are_skipped_and_those_of_a_pattern_are_read(tmp_path):
    write_series(tmp_path / "in", toy_hu())
    zipped(tmp_path / "in", tmp_path / "export.zip")
    notes = []
    assert len(find_scans([tmp_path], options=ReadOptions(), notes=notes)) == 1
    assert "skipped 1 zip files, which are read only if they are given as INPUT" in notes[0]
    assert len(find_scans([tmp_path / "*.zip"], options=ReadOptions())) == 1


def test_members_that_are_left_out_or_refused(tmp_path):
    content = write_series(tmp_path / "in", toy_hu(1)).joinpath("s1_000.dcm").read_bytes()
    (tmp_path / "outside.dcm").write_bytes(content)
    path = tmp_path / "export.zip"
    link = zipfile.ZipInfo("link.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as file:
        for name in ("../outside.dcm", "/etc/a.dcm", "C:/a.dcm", "a\\b.dcm", "inner.zip", "s.dcm"):
            file.writestr(name, content)
        file.writestr(link, "/etc/passwd")
        file.writestr(".", "a name without parts")
    notes = []
    (source,) = find_scans([path], options=ReadOptions(), notes=notes)
    assert source.files == (path / "s.dcm",)
    assert [note.partition("skipped ")[2].partition(":")[0] for note in notes] == [
        "4 files whose names lead out of the zip",
        "1 archives within the zip",
        "1 links",
    ]
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("s.dcm", content)
    with pytest.raises(DatasetError, match=r"holds 's\.dcm' twice"):
        find_scans([path], options=ReadOptions())
