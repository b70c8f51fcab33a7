"""Walking folders with links, and which folders and files are accepted."""

import os
from pathlib import Path

import pytest

from ct_lesion.data.datasets.covidx_lists import Problems
from ct_lesion.data.prepare.covidx_images import index_images
from ct_lesion.errors import UserError
from ct_lesion.folders import check_regular, check_replaceable, walk_folder


def test_links_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    root, linked = tmp_path / "data" / "root", tmp_path / "linked"
    for path in (root / "b" / "2.txt", root / "a" / "1.txt", linked / "NCP_1_2_3.png"):
        path.parent.mkdir(parents=True)
        path.touch()
    (tmp_path / "secret.png").touch()
    (root / "up").symlink_to(tmp_path)
    (root / "self").symlink_to(root)
    (root / "archive").symlink_to(linked)
    (root / "again").symlink_to(linked)
    found = [(place.relative_to(root).as_posix(), names) for place, names in walk_folder(root)]
    assert found == [(".", []), ("a", ["1.txt"]), ("again", ["NCP_1_2_3.png"]), ("b", ["2.txt"])]
    images, unknown = index_images(root, None, Problems())
    assert list(images) == ["NCP_1_2_3"]
    assert unknown == []


def test_only_new_empty_and_earlier_results_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "result"
    check_replaceable(folder, "page.html", "report", overwrite=False)
    folder.mkdir()
    check_replaceable(folder, "page.html", "report", overwrite=False)
    (folder / "mine.txt").touch()
    with pytest.raises(UserError, match="is not a report"):
        check_replaceable(folder, "page.html", "report", overwrite=True)
    (folder / "page.html").touch()
    with pytest.raises(UserError, match="already holds a report"):
        check_replaceable(folder, "page.html", "report", overwrite=False)
    check_replaceable(folder, "page.html", "report", overwrite=True)
    with pytest.raises(UserError, match="is not a report"):
        check_replaceable(folder / "mine.txt", "page.html", "report", overwrite=True)


def test_only_files_are_regular(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "file").touch()
    check_regular(tmp_path / "file")
    for name, kind in (("pipe", "pipe or a device"), ("zero", "pipe or a device"), ("", "folder")):
        with pytest.raises(OSError, match=f"is a {kind}"):
            check_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "nothing")
