"""Writing: files and folders are complete or absent, and are never opened through a link.

Files outside a folder under construction are written with :func:`atomic_write` or
:func:`write_together`; those inside one (see :func:`atomic_folder`) with :func:`write_new`.
Pictures are written by :mod:`ct_lesion.pictures`, volumes by :mod:`ct_lesion.scans.volume_writing`.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .locks import locked_name, short_hash

_PARTIAL = ".partial-"
_ENDING = 16  # characters of a name that its temporary name ends in; ITK chooses a format by them


def _temporary(path: Path) -> Path:
    """A new hidden name beside a path, which no other process uses."""
    mark = f"{_PARTIAL}{short_hash(path.name)}-{secrets.token_hex(8)}"
    return path.with_name(f"{mark}-{path.name[-_ENDING:]}")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a new, empty temporary file in the same folder.

    It becomes ``path`` if the block succeeds. A failure, or a process killed at any moment, leaves
    the earlier ``path`` as it was. A link at ``path`` is replaced, its target stays as it is.
    """
    temporary = _temporary(path)
    try:
        with errors_name(path):
            temporary.open("xb").close()
            yield temporary
            _flush_to_disk(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_new(path: Path, content: bytes | str) -> None:
    """Write a file that must not exist yet, and create its folder; text is written in UTF-8.

    Raises:
        FileExistsError: the file, or a link of this name, exists.
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    with errors_name(path), path.open("xb") as file:
        file.write(data)


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
    in a hidden folder beside it. What a killed process left behind is cleared away by the next
    attempt. A link at ``path`` is replaced, its target stays as it is.

    Raises:
        UserError: another process is making this folder.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_name(path):
        earlier = path.with_name(f".earlier-{short_hash(path.name)}")
        _finish_exchange(path, earlier)
        for left in path.parent.glob(f"{_PARTIAL}{short_hash(path.name)}-*"):
            remove(left)
        partial = _temporary(path)
        try:
            with errors_name(path):
                partial.mkdir()
                yield partial
            if os.path.lexists(path):
                path.rename(earlier)
            partial.rename(path)
            remove(earlier)
        finally:
            # also after Ctrl-C; nothing is left here when the renaming went well
            remove(partial)


def _finish_exchange(path: Path, earlier: Path) -> None:
    """Finish or undo an exchange of folders that a killed process left half done."""
    if os.path.lexists(earlier) and not os.path.lexists(path):
        earlier.rename(path)
    remove(earlier)


def remove(path: Path) -> None:
    """Remove a file, a link (not its target) or a folder, as far as possible."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left in a folder; no other process may be writing into it."""
    for path in folder.glob(f"{_PARTIAL}*"):
        remove(path)


def remove_links(folder: Path) -> list[Path]:
    """Remove all links below a folder, not their targets; returns the removed links.

    Programs that open existing files, such as Detectron2, then write into this folder only.
    """
    links = []
    for parent, folders, files in os.walk(folder):
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
