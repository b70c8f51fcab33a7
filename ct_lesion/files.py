"""Writing: files and folders are complete or absent, and are never opened through a link.

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
_ENDING = 16  # characters of a name that its temporary name ends in; ITK chooses a format by them


def _temporary(path: Path) -> Path:
    """A new hidden name beside a path, which no other process uses."""
    return path.with_name(f".partial-{secrets.token_hex(8)}-{path.name[-_ENDING:]}")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a new, empty temporary file in the same folder.

    It becomes ``path`` if the block succeeds. A failure, or a process killed at any moment, leaves
    the earlier ``path`` as it was. A link at ``path`` is replaced, its target stays as it is.
    """
    temporary = _temporary(path)
    try:
        with errors_name(path), created_in_use(temporary):
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes | str) -> None:
    """Write a file that must not exist yet, and create its folder.

    Text is written in UTF-8. Bytes of file names that are not UTF-8 become backslash escapes, which
    JSON reads back as they were.

    Raises:
        FileExistsError: the file, or a link of this name, exists.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with errors_name(path), path.open("xb") as file:
        file.write(data)


def write_together(texts: Mapping[Path, str]) -> None:
    """Write text files as :func:`write_new` does, but atomically.

    Raises:
        OSError: a file cannot be written; then none is written.
    """
    with ExitStack() as stack:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = stack.enter_context(atomic_write(path))
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


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
    attempt calls, brings back the earlier folders or finishes the exchange. A link at one of
    ``paths`` is replaced, its target stays as it is.

    Raises:
        UserError: another process is making one of these folders, or it cannot be created.
    """
    with locked_names(*paths):
        settle_folders(*paths)
        partial = [_hidden(path, "partial") for path in paths]
        try:
            with errors_name(paths[0].absolute()):
                for folder in partial:
                    folder.mkdir()
                yield partial
            # the last goes first and comes last: while it is missing, the others are not used
            for path in reversed(paths):
                if os.path.lexists(path):
                    path.rename(_hidden(path, "earlier"))
            for folder, path in zip(partial, paths, strict=True):
                folder.rename(path)
        finally:
            settle_folders(*paths)  # also after Ctrl-C


def settle_folders(*paths: Path) -> None:
    """Finish or undo what a killed :func:`atomic_folders` left half done.

    Raises:
        UserError: another process is making one of these folders.
    """
    partial = [_hidden(path, "partial") for path in paths]
    earlier = [_hidden(path, "earlier") for path in paths]
    if not any(os.path.lexists(folder) for folder in (*partial, *earlier)):
        return
    with locked_names(*paths):
        if partial[-1].exists() and not partial[0].exists():  # only while they take their places
            for folder, path in zip(partial, paths, strict=True):
                if folder.exists():
                    folder.rename(path)
        for folder, path in zip(earlier, paths, strict=True):
            if os.path.lexists(folder) and not os.path.lexists(path):
                folder.rename(path)
            remove(folder)
        for folder in reversed(partial):  # the first goes last, see above
            remove(folder)


# ---- one job at a time --------------------------------------------------------------------------
@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Create a folder and let no other job write into it until the block ends.

    What a killed process left in it is removed. A folder that was created here and is still empty
    at the end is removed too.

    Raises:
        UserError: another job is writing into the folder, or it cannot be written to.
    """
    with _created(folder), locked(folder / LOCK_FILE, folder):
        remove_partial_files(folder)
        yield


@contextmanager
def locked_names(*paths: Path) -> Iterator[None]:
    """Let no other job make or replace these files or folders until the block ends.

    The locks lie in the parent folders, which are created as by :func:`locked_folder`.

    Raises:
        UserError: another job is making one of them, or a parent cannot be written to.
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
    """Create a folder and its parents; those that are still empty at the end are removed."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: exists and is not a folder. Choose another folder.")
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
    """The temporary name of a folder; always the same, so that the next attempt finds it."""
    path = path.absolute()
    return path.with_name(f".{kind}-{short_hash(path.name)}")


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder, as far as possible."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove the files and locks that killed processes left."""
    for path in (*folder.glob(".partial-*"), *folder.glob(f".{'[0-9a-f]' * 16}.lock")):
        if path.is_file() or path.is_symlink():  # folders: see settle_folders
            remove_if_unused(path)


def remove_links(paths: Iterable[Path]) -> list[Path]:
    """Remove links, and all links below folders, not their targets; returns the removed links.

    Programs that open existing files, such as Detectron2, then write to these places only.
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
