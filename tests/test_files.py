import errno
import os
import shutil
from pathlib import Path

import pytest

from ct_lesion.files import (
    atomic_folder,
    atomic_folders,
    atomic_write,
    remove_links,
    remove_partial_files,
    settle_folders,
    write_new,
    write_together,
)


def fill(folder, text):
    with atomic_folder(folder) as partial:
        (partial / "file").write_text(text)


def test_a_folder_appears_when_it_is_complete_and_replaces_an_earlier_one(tmp_path):
    target = tmp_path / "new" / "target"
    with atomic_folder(target) as partial:
        (partial / "file").write_text("first")
        assert not target.exists()
    fill(target, "second")
    assert (target / "file").read_text() == "second"
    assert [p.name for p in target.parent.iterdir()] == ["target"]


def test_a_failure_leaves_the_earlier_folder_and_nothing_else(tmp_path):
    target = tmp_path / "target"
    fill(target, "first")
    with pytest.raises(KeyboardInterrupt), atomic_folder(target) as partial:
        (partial / "file").write_text("half")
        raise KeyboardInterrupt
    assert (target / "file").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


def leave_a_killed_exchange(target: Path) -> None:
    """Replace ``target`` in a process that is killed between the two renames."""
    rename = Path.rename

    def killed(self, to):
        if to == target:
            os._exit(0)
        return rename(self, to)

    if not (child := os.fork()):
        Path.rename = killed
        fill(target, "never seen")
    os.waitpid(child, 0)


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    target = tmp_path / "target"
    fill(target, "first")
    leave_a_killed_exchange(target)
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 3, "earlier, partial and lock"
    with pytest.raises(ValueError, match="stop"), atomic_folder(target):
        raise ValueError("stop")
    assert (target / "file").read_text() == "first", "the earlier folder came back"
    fill(target, "second")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]
    assert [p.name for p in target.iterdir()] == ["file"]


def test_links_are_replaced_and_their_targets_stay(tmp_path):
    foreign, folder = tmp_path / "foreign", tmp_path / "folder"
    fill(foreign, "keep")
    folder.mkdir()
    (folder / "file").symlink_to(foreign / "file")
    (folder / "scan").symlink_to(foreign)
    with pytest.raises(FileExistsError):
        write_new(folder / "file", "new")
    write_together({folder / "file": "new"})
    fill(folder / "scan", "new")
    assert (foreign / "file").read_text() == "keep"
    assert (folder / "file").read_text() == (folder / "scan" / "file").read_text() == "new"
    assert not (folder / "file").is_symlink()
    assert sorted(p.name for p in folder.iterdir()) == ["file", "scan"]


def test_links_below_a_folder_are_removed(tmp_path):
    foreign, folder = tmp_path / "foreign", tmp_path / "folder"
    fill(foreign, "keep")
    fill(folder / "inference" / "test", "stays")
    links = [folder / "log.txt", folder / "inference" / "test" / "results.json"]
    for link in links:
        link.symlink_to(foreign / "file")
    links.append(folder / "linked")
    links[-1].symlink_to(foreign)
    untouched = folder / "dataset"
    untouched.symlink_to(foreign)
    found = remove_links([folder / "log.txt", folder / "inference", folder / "linked"])
    assert sorted(found) == sorted(links)
    assert untouched.is_symlink()
    untouched.unlink()
    assert [p.name for p in folder.rglob("*")] == ["inference", "test", "file"]
    assert (foreign / "file").read_text() == "keep"


def test_a_failed_file_leaves_the_earlier_one(tmp_path):
    path = tmp_path / "file"
    path.write_text("first")
    with pytest.raises(ValueError, match="stop"), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ValueError("stop")
    assert path.read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_names_its_file(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for kind in (atomic_write, atomic_folder):
        with pytest.raises(OSError, match="No space left") as error, kind(tmp_path / "result"):
            fill_the_disk()
        assert error.value.filename == str(tmp_path / "result")
    assert list(tmp_path.iterdir()) == []


def test_partial_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    for name in ("model_0000001.pth", ".hidden"):
        (tmp_path / name).touch()
    with atomic_write(tmp_path / "model_0000002.pth") as temporary:
        assert temporary.name.endswith("odel_0000002.pth")
        left = Path(shutil.copy(temporary, f"{temporary}x"))
    left.rename(left.with_name(left.name[:-1]))  # as if the process had been killed in the block
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "nothing")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"model_0000001.pth", "model_0000002.pth", ".hidden"}


def test_a_name_of_the_greatest_length_can_be_written(tmp_path: Path) -> None:
    name = 251 * "x" + ".txt"
    write_together({tmp_path / name: "text"})
    fill(tmp_path / name[1:], "text")
    assert {path.name for path in tmp_path.iterdir()} == {name, name[1:]}


def test_a_failure_to_write_together_keeps_the_earlier_files(tmp_path, monkeypatch):
    files = {tmp_path / "a.json": "new", tmp_path / "b.json": "new"}
    for path in files:
        path.write_text("old")
    write_text = Path.write_text

    def disk_full(self, text, **kwargs):
        if self.name.endswith("b.json"):
            write_text(self, text[:1], **kwargs)
            raise OSError(28, "No space left on device")
        return write_text(self, text, **kwargs)

    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OSError, match="No space left"):
        write_together(files)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.json": "old", "b.json": "old"}


class Killed(BaseException):
    """Stands for a killed process: no cleanup runs."""


@pytest.mark.parametrize("earlier", [True, False])
@pytest.mark.parametrize("moves", range(5))
def test_two_folders_change_together_or_not_at_all(tmp_path, monkeypatch, earlier, moves):
    images, annotations = tmp_path / "images", tmp_path / "annotations"
    if earlier:
        for folder in (images, annotations):
            fill(folder, "old")
    rename = Path.rename
    left = iter(range(moves))

    def killed_after(self, target):
        if next(left, None) is None:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed_after)
    monkeypatch.setattr("ct_lesion.files.settle_folders", lambda *_: None)
    killed = False
    try:
        with atomic_folders(images, annotations) as partial:
            for folder in partial:
                (folder / "file").write_text("new")
    except Killed:
        killed = True
    monkeypatch.undo()
    assert killed == (moves < (4 if earlier else 2))

    def state() -> tuple[str, ...]:
        files = [folder / "file" for folder in (images, annotations)]
        return tuple(file.read_text() if file.exists() else "" for file in files)

    # after the kill, old and new are never paired; without annotations there is no dataset
    before = ("old", "old") if earlier else ("", "")
    assert state() in {before, ("new", "new"), ("old", ""), ("", ""), ("new", "")}
    settle_folders(images, annotations)
    assert state() in {before, ("new", "new")}
    assert {path.name for path in tmp_path.iterdir()} <= {"images", "annotations"}
