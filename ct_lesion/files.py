"""Atomic writing: files and folders are complete or absent."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which becomes ``path`` if the block succeeds.

    A failure, or a process killed at any moment, leaves the earlier ``path`` as it was. The
    temporary name is always the same for a ``path``, so that what a killed process left behind is
    overwritten by the next attempt instead of piling up.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with errors_name(path):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def errors_name(path: str | Path) -> Iterator[None]:
    """Add the path to OSErrors that carry no file name, e.g. of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside ``path``, which takes its place if the block succeeds.

    A failure, or a process killed at any moment, leaves the earlier ``path``, or its whole contents
    in a hidden folder beside it. The temporary names are always the same for a ``path``, so that
    what a killed process left behind is cleared away by the next attempt.
    """
    path = path.absolute()
    partial, earlier = (path.with_name(f".{path.name}.{kind}") for kind in ("partial", "earlier"))
    path.parent.mkdir(parents=True, exist_ok=True)
    _finish_exchange(path, earlier)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        with errors_name(path):
            yield partial
        if path.exists():
            path.rename(earlier)
        partial.rename(path)
        shutil.rmtree(earlier, ignore_errors=True)
    finally:
        # also after Ctrl-C; nothing is left here when the renaming went well
        shutil.rmtree(partial, ignore_errors=True)


def _finish_exchange(path: Path, earlier: Path) -> None:
    """Finish or undo an exchange of folders that a killed process left half done."""
    if earlier.exists() and not path.exists():
        earlier.rename(path)
    shutil.rmtree(earlier, ignore_errors=True)


def write_together(texts: Mapping[Path, str]) -> None:
    """Write text files in UTF-8 atomically, and create their folders.

    Raises:
        OSError: a file cannot be written; then none is written.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(atomic_write(path))
            temporary.write_text(text, encoding="utf-8", newline="\n")


def remove_partial_files(folder: Path) -> None:
    """Remove what :func:`atomic_write` of a killed process left in a folder."""
    for path in folder.glob(".*.partial"):
        if path.is_file():
            path.unlink()


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk; does nothing on systems that cannot."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_to_disk(path: Path) -> None:
    # without it, a power cut soon after the rename can leave a complete name on an empty file
    with path.open("rb+") as file:
        os.fsync(file.fileno())
