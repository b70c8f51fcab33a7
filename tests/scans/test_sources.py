"""Finding scans in inputs: their names, and the notes about skipped files."""

import os
import re

import numpy as np
import pytest
from toy_scans import toy_grey, toy_hu, write_pictures, write_series, write_volume

from ct_lesion.errors import DatasetError
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans, open_scan

OPTIONS = ReadOptions()
GREY = toy_grey()


@pytest.fixture
def mixed(tmp_path):
    """A folder with all kinds of scans, broken ones and other files."""
    root = tmp_path / "in"
    write_series(root / "scanner" / "a", toy_hu())
    write_series(root / "scanner" / "b", toy_hu(), 2)
    write_volume(root / "v" / "x.nii.gz", toy_hu())
    write_volume(root / "v" / "x.mha", toy_hu())
    write_volume(root / "w" / "y.mhd", toy_hu())
    write_pictures(root / "NCP" / "12" / "1", GREY)
    write_pictures(root / "NCP" / "12" / "2", GREY)
    (root / "broken.nrrd").write_bytes(b"junk")
    for name in ("notes.txt", "list.csv", ".DS_Store"):
        (root / name).write_text("x")
    return root


def test_a_mixed_folder(mixed):
    notes = []
    sources = find_scans([mixed], options=OPTIONS, notes=notes)
    assert [(s.name, s.kind, len(s.files)) for s in sources] == [
        ("scanner-a", "dicom", 12),
        ("scanner-b", "dicom", 12),
        ("broken", "volume", 1),
        ("v-x", "volume", 1),
        ("v-x-2", "volume", 1),
        ("w-y", "volume", 2),
        ("NCP-12-1", "pictures", 12),
        ("NCP-12-2", "pictures", 12),
    ]
    assert notes == [f"{mixed}: skipped 2 files of other kinds: list.csv, notes.txt"]
    for source in sources:
        if source.name == "broken":
            with pytest.raises(DatasetError, match=r"broken\.nrrd cannot be read"):
                source.open()
        else:
            scan = source.open()
            assert (scan.name, scan.shape) == (source.name, (12, 32, 32))
            np.testing.assert_array_equal(scan.grey(4), GREY[4])


def test_the_same_files_are_found_once_and_in_the_same_order(mixed):
    once = find_scans([mixed], options=OPTIONS)
    twice = find_scans([mixed, str(mixed), mixed / "v" / "x.mha"], options=OPTIONS)
    assert [s.files for s in twice] == [s.files for s in once]
    assert [s.name for s in twice] == [s.name for s in once]


def test_files_named_individually(mixed):
    pictures = sorted((mixed / "NCP/12/1").iterdir())[:4]
    (scan,) = find_scans(pictures, options=OPTIONS)
    assert (scan.name, len(scan.files)) == ("1", 4)
    (volume,) = find_scans([mixed / "v" / "x.nii.gz"], options=OPTIONS)
    assert volume.name == "x"


def test_globs(mixed):
    volumes = find_scans([f"{mixed}/v/*.nii.gz", f"{mixed}/w/*"], options=OPTIONS)
    assert [s.name for s in volumes] == ["x", "y"]
    folders = find_scans([f"{mixed}/NCP/12/*"], options=OPTIONS)
    assert [s.name for s in folders] == ["1", "2"]
    with pytest.raises(DatasetError, match=r"\*\.gipl: no file matches this pattern"):
        find_scans([f"{mixed}/*.gipl", mixed], options=OPTIONS)


def test_relative_inputs(mixed, monkeypatch):
    monkeypatch.chdir(mixed / "NCP" / "12" / "1")
    assert [s.name for s in find_scans(["."], options=OPTIONS)] == ["1"]
    monkeypatch.chdir(mixed)
    assert [s.name for s in find_scans(["v/*.mha"], options=OPTIONS)] == ["x"]


def test_names_are_safe(tmp_path):
    write_volume(tmp_path / "Müller & Söhne (2).nii", toy_hu())
    (scan,) = find_scans([tmp_path], options=OPTIONS)
    assert re.fullmatch("M_ller_S_hne_2-[0-9a-f]{8}", scan.name)


def test_links_are_followed(mixed, tmp_path):
    link = tmp_path / "link"
    link.mkdir()
    (link / "there").symlink_to(mixed / "NCP" / "12", target_is_directory=True)
    assert [s.name for s in find_scans([link], options=OPTIONS)] == ["there-1", "there-2"]


def test_circular_and_broken_links_are_harmless(mixed):
    before = [s.name for s in find_scans([mixed], options=OPTIONS)]
    (mixed / "v" / "up").symlink_to(mixed, target_is_directory=True)
    (mixed / "gone").symlink_to(mixed / "nowhere")
    (mixed / "gone.nii").symlink_to(mixed / "nowhere")
    os.mkfifo(mixed / "pipe")
    notes = []
    assert [s.name for s in find_scans([mixed], options=OPTIONS, notes=notes)] == before
    assert "skipped 3 files that cannot be read (" in notes[0]
    assert notes[0].endswith(": gone, gone.nii, pipe")
    assert notes[1].endswith("skipped 2 files of other kinds: list.csv, notes.txt")


def test_inputs_without_a_scan_are_refused_in_one_line(tmp_path):
    with pytest.raises(DatasetError, match="no scan found") as caught:
        find_scans([tmp_path], options=OPTIONS)
    assert "\n" not in str(caught.value)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DatasetError, match=r"no scan found.*notes\.txt"):
        find_scans([tmp_path], options=OPTIONS)
    with pytest.raises(DatasetError, match=r"notes\.txt is not DICOM"):
        find_scans([tmp_path / "notes.txt"], options=OPTIONS)
    with pytest.raises(DatasetError, match=r"nowhere does not exist\. Check the path"):
        find_scans([tmp_path / "nowhere"], options=OPTIONS)
    with pytest.raises(DatasetError, match="no input: no scan found"):
        find_scans([], options=OPTIONS)


def test_open_scan_expects_exactly_one(mixed):
    with pytest.raises(DatasetError, match=r"8 scans .* expected one"):
        open_scan(mixed)


def test_a_deleted_file_is_a_data_error(mixed):
    (source,) = find_scans([mixed / "NCP/12/1"], options=OPTIONS)
    source.files[3].unlink()
    with pytest.raises(DatasetError, match=r"No such file"):
        source.open()


def test_a_pipe_among_slices_is_a_hole(tmp_path):
    os.mkfifo(write_pictures(tmp_path / "a", GREY) / "12.png")
    scan = open_scan(tmp_path / "a")
    assert len(scan) == 12
    assert scan.incomplete
    assert "12.png" in next(f.message for f in scan.qc if f.code == "unreadable_files")
