"""Atomic writing: files and folders are complete or absent, and links are never written through.

Files outside a folder under construction are written with :func:`atomic_write` or
:func:`write_together`; those inside one (see :func:`atomic_folder`) with :func:`write_new`.
Pictures are written by :mod:`ct_lesion.pictures`, volumes by :mod:`ct_lesion.scans.volume_writing`.
"""

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .locks import cannot_write, created_in_use, locked, remove_if_unused, short_hash

LOCK_FILE = ".ct_lesion.lock"
_ENDING = 16  # last characters that a temporary name keeps: ITK needs the extension


def _temporary(path: Path) -> Path:
    """A hidden name in the folder of a path that no other process uses."""
    return path.with_name(f".partial-{secrets.token_hex(8)}-{path.name[-_ENDING:]}")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a new, empty temporary file in the same folder.

    It becomes ``path`` if the block succeeds. If the block fails or the process is killed, an
    existing ``path`` is unchanged. A link at ``path`` is replaced; its target is unchanged.
    """
    temporary = _temporary(path)
    try:
        with add_path_to_errors(path), created_in_use(temporary):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes | str) -> None:
    """Write a file that must not exist yet, and create its folder.

    Text is written in UTF-8. Bytes of file names that are not UTF-8 become backslash escapes, from
    which JSON restores them.

    Raises:
        FileExistsError: the file, or a link of this name, exists.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with add_path_to_errors(path), path.open("xb") as file:
        file.write(data)


def write_together(texts: Mapping[Path, str]) -> None:
    """Write text files together and atomically, encoded as by :func:`write_new`.

    Raises:
        OSError: a file cannot be written; existing files are then unchanged.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(atomic_write(path))
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


@contextmanager
def add_path_to_errors(path: str | Path) -> Iterator[None]:
    """Add a path to OSErrors that carry no file name, e.g. of a write to a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)
        raise


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``path`` if the block succeeds.

    See :func:`atomic_folders`.
    """
    with atomic_folders(path) as (partial,):
        yield partial


@contextmanager
def atomic_folders(*paths: Path) -> Iterator[list[Path]]:
    """Yield temporary folders that replace ``paths`` together if the block succeeds.

    If the block fails, existing folders are unchanged. If the process is killed during the
    exchange, the last of ``paths`` is missing, so that old and new folders are never used together;
    all contents remain, some in hidden folders beside ``paths``. The next call restores the old
    folders or completes the exchange (:func:`settle_folders`). A link at one of ``paths`` is
    replaced; its target is unchanged.

    Raises:
        UserError: another process is making one of these folders, or it cannot be created.
    """
    with locked_names(*paths):
        settle_folders(*paths)
        partial = [_hidden(path, "partial") for path in paths]
        try:
            with add_path_to_errors(paths[0].absolute()):
                for folder in partial:
                    folder.mkdir()
                yield partial
            # the last path is removed first and restored last: without it, the others are not used
            for path in reversed(paths):
                if os.path.lexists(path):
                    path.rename(_hidden(path, "earlier"))
            for folder, path in zip(partial, paths, strict=True):
                folder.rename(path)
        finally:
            settle_folders(*paths)  # also after Ctrl-C


def settle_folders(*paths: Path) -> None:
    """Complete or undo the exchange of a killed :func:`atomic_folders`.

    Raises:
        UserError: another process is making one of these folders.
    """
    partial = [_hidden(path, "partial") for path in paths]
    earlier = [_hidden(path, "earlier") for path in paths]
    if not any(os.path.lexists(folder) for folder in (*partial, *earlier)):
        return
    with locked_names(*paths):
        if partial[-1].exists() and not partial[0].exists():  # only during the exchange
            for folder, path in zip(partial, paths, strict=True):
                if folder.exists():
                    folder.rename(path)
        for folder, path in zip(earlier, paths, strict=True):
            if os.path.lexists(folder) and not os.path.lexists(path):
                folder.rename(path)
            remove(folder)
        for folder in reversed(partial):  # the first one last, so that it marks an incomplete block
            remove(folder)


# ---- one job at a time --------------------------------------------------------------------------
@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create a folder and lock it against other jobs until the block ends.

    Temporary files of killed processes are removed from it. If the folder was created here and is
    empty at the end, it is removed.

    Raises:
        UserError: another job is writing into the folder, or it cannot be written to.
    """
    with _created(folder), locked(folder / LOCK_FILE, folder):
        remove_partial_files(folder)
        yield


@contextmanager
def locked_names(*paths: Path) -> Iterator[None]:
    """Lock these names: no other job can create or replace the files or folders in the block.

    The lock files are in the parent folders, which are created as by :func:`locked_folder`.

    Raises:
        UserError: another job holds one of the locks, or a parent cannot be written to.
    """
    with ExitStack() as stack:
        for path in paths:
            path = path.absolute()
            stack.enter_context(_created(path.parent))
            lock = path.with_name(f".{short_hash(path.name)}.lock")
            stack.enter_context(locked(lock, path))
        yield


@contextmanager
def _created(folder: Path) -> Iterator[None]:
    """Create a folder and its parents; those created here are removed if empty at the end."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} exists and is not a folder. Choose another folder.")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        yield
    finally:
        for path in missing:
            with suppress(OSError):  # it is not empty
                path.rmdir()


def _hidden(path: Path, kind: str) -> Path:
    """The hidden name of a folder's new or earlier version; the next call finds it again."""
    path = path.absolute()
    return path.with_name(f".{kind}-{short_hash(path.name)}")


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder, as far as possible."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files and locks that killed processes left in a folder."""
    for path in (*folder.glob(".partial-*"), *folder.glob(f".{'[0-9a-f]' * 16}.lock")):
        if path.is_file() or path.is_symlink():  # folders: see settle_folders
            remove_if_unused(path)


def remove_links(paths: Iterable[Path]) -> list[Path]:
    """Remove links, and all links below folders, but not their targets; returns the removed links.

    Detectron2 opens existing files, so it would write through a link.
    """
    links = []
    for path in paths:
        links += [path] if path.is_symlink() else []
        for parent, folders, files in os.walk(path) if not path.is_symlink() else ():
            links += [p for name in (*folders, *files) if (p := Path(parent, name)).is_symlink()]
    for link in links:
        link.unlink()
    return links


def flush_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk; does nothing on Windows."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_to_disk(path: Path) -> None:
    # otherwise, a power cut soon after the rename can leave an empty file under the final name
    with path.open("rb+") as file:
        os.fsync(file.fileno())
