"""Locks on outputs, between real processes and on a file system without locks."""

import errno
import json
import multiprocessing
import os
import socket

import pytest
from other_job import holding

from ct_lesion.errors import UserError
from ct_lesion.files import LOCK_FILE, atomic_folder, atomic_write, locked_folder, locked_names
from ct_lesion.locks import fcntl, locked

HOST = socket.gethostname()


def test_a_second_job_is_refused_until_the_first_is_dead(tmp_path):
    folder = tmp_path / "out"
    with holding(locked_folder(folder)) as pid:
        refusal = rf"out is being written by process {pid} on {HOST}\..*delete .*{LOCK_FILE}"
        with pytest.raises(UserError, match=refusal), locked_folder(folder):
            pass
        with locked_folder(tmp_path / "other"):
            pass
    assert (folder / LOCK_FILE).exists(), "the first was killed"
    with locked_folder(folder):
        assert json.loads((folder / LOCK_FILE).read_text()) == {"host": HOST, "pid": os.getpid()}
    assert list(tmp_path.iterdir()) == [folder], "empty folders stay only if they were there"
    assert list(folder.iterdir()) == []


def test_a_name_that_another_job_makes_is_refused(tmp_path):
    report = tmp_path / "new" / "report"
    with (
        holding(locked_names(report)) as pid,
        pytest.raises(UserError, match=f"report is being written by process {pid}"),
        atomic_folder(report),
    ):
        pytest.fail("may not begin")
    with locked_names(report), atomic_folder(report) as partial:  # the same process
        (partial / "file").touch()
    assert list(report.parent.iterdir()) == [report]


def test_processes_that_a_job_starts_do_not_keep_its_lock(tmp_path):
    """A worker may outlive its killed parent by seconds; the next run does not wait for it."""
    context = multiprocessing.get_context("fork")
    end = context.Event()
    with locked_folder(tmp_path / "out"):
        worker = context.Process(target=end.wait)
        worker.start()
    try:
        with holding(locked_folder(tmp_path / "out")):
            pass
    finally:
        end.set()
        worker.join()


def test_what_a_killed_job_left_is_removed_and_what_a_living_one_uses_stays(tmp_path):
    with holding(locked_names(tmp_path / "scan")), holding(atomic_write(tmp_path / "page")):
        left = sorted(p.name for p in tmp_path.iterdir())
        assert len(left) == 2, "a lock and a temporary file"
        with locked_folder(tmp_path):
            assert {*left} < {path.name for path in tmp_path.iterdir()}
    assert sorted(p.name for p in tmp_path.iterdir()) == left
    with locked_folder(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == [LOCK_FILE]


def test_a_planted_link_is_not_followed(tmp_path):
    foreign = tmp_path / "foreign"
    foreign.write_text("keep")
    (tmp_path / LOCK_FILE).symlink_to(foreign)
    with locked_folder(tmp_path):
        assert not (tmp_path / LOCK_FILE).is_symlink()
    assert foreign.read_text() == "keep"


def test_an_output_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="file exists and is not a folder"),
        locked_folder(tmp_path / "file"),
    ):
        pass
    with (
        pytest.raises(UserError, match=r"below cannot be written to \(Not a directory\)"),
        locked_folder(tmp_path / "file" / "below"),
    ):
        pass
    (tmp_path / LOCK_FILE).mkdir()
    with (
        pytest.raises(UserError, match=r"cannot be written to \(Is a directory\)"),
        locked_folder(tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("holder", "free"),
    [
        ({}, True),
        ({"host": HOST, "pid": 2**22 + 1}, True),  # above the largest process id
        ({"host": HOST, "pid": os.getpid()}, True),  # an earlier process with the same id
        ({"host": HOST, "pid": os.getppid()}, False),
        ({"host": "another machine", "pid": 2**22 + 1}, False),
        ({"host": HOST, "pid": "text"}, True),
        ([], True),
    ],
)
def test_without_flock_the_recorded_process_counts(tmp_path, monkeypatch, holder, free):
    def not_supported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", not_supported)
    file = tmp_path / "lock"
    file.write_text(json.dumps(holder))
    if free:
        with locked(file, tmp_path):
            assert json.loads(file.read_text())["pid"] == os.getpid()
        assert not file.exists()
        return
    with (
        pytest.raises(UserError, match=f"process {holder['pid']} on {holder['host']}"),
        locked(file, tmp_path),
    ):
        pass
    assert json.loads(file.read_text()) == holder


def test_a_damaged_lock_file_is_taken_over(tmp_path):
    (tmp_path / LOCK_FILE).write_bytes(b"\xff not json")
    with locked_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
