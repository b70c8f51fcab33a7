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

    See :func:`atomic_folders`.
    """
    with atomic_folders(path) as (partial,):
        yield partial


@contextmanager
def atomic_folders(*paths: Path) -> Iterator[list[Path]]:
    """Yield new folders that take the places of ``paths`` together if the block succeeds.

    A failure leaves the earlier folders. So does a process killed at any moment, or it leaves the
    whole contents in hidden folders beside them: the last of ``paths`` is then missing, never
    there beside a new or another earlier folder, and :func:`settle_folders`, which the next
    attempt calls, brings back the earlier folders or finishes the exchange.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    settle_folders(*paths)
    partial = [_hidden(path, "partial") for path in paths]
    try:
        with errors_name(paths[0].absolute()):
            for folder in partial:
                folder.mkdir()
            yield partial
        # the last goes first and comes last: while it is missing, the others are not used
        for path in reversed(paths):
            if path.exists():
                path.rename(_hidden(path, "earlier"))
        for folder, path in zip(partial, paths, strict=True):
            folder.rename(path)
    finally:
        settle_folders(*paths)  # also after Ctrl-C


def settle_folders(*paths: Path) -> None:
    """Finish or undo what a killed :func:`atomic_folders` left half done."""
    partial = [_hidden(path, "partial") for path in paths]
    if partial[-1].exists() and not partial[0].exists():  # only while they take their places
        for folder, path in zip(partial, paths, strict=True):
            if folder.exists():
                folder.rename(path)
    for path in paths:
        earlier = _hidden(path, "earlier")
        if earlier.exists() and not path.exists():
            earlier.rename(path)
        shutil.rmtree(earlier, ignore_errors=True)
    for folder in reversed(partial):  # the first goes last, see above
        shutil.rmtree(folder, ignore_errors=True)


def _hidden(path: Path, kind: str) -> Path:
    """The temporary name of a folder; always the same, so that the next attempt finds it."""
    path = path.absolute()
    return path.with_name(f".{path.name}.{kind}")


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
