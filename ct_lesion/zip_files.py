"""Reading untrusted zip files: size limits, and members as paths below the zip.

Nothing is extracted under its member name. A path below the zip, e.g. ``scan.zip/ct/1.dcm``, names
a member, and :func:`open_file` opens it like any other file.
"""

from __future__ import annotations

import io
import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from .errors import DatasetError

SMALL_ARCHIVE, LARGEST_RATIO = 2**30, 100
"""A zip may unpack to this many bytes, or to this multiple of its size if that is more. Pictures
are already compressed, and lossless slices shrink to a half or a third."""
BAD_ZIP = (
    zipfile.BadZipFile,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    OverflowError,
    RuntimeError,  # encrypted, or an unknown compression
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""Exceptions raised by reading a damaged, encrypted or unsupported zip."""
ZIP_ENDING = ".zip"
_ARCHIVES = (ZIP_ENDING, ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_IN_MEMORY = 2**26  # bytes; larger members are unpacked into an unnamed temporary file
_ENCRYPTED = 0x1  # flag of a member


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip and check the total size of its members.

    Raises:
        DatasetError: the zip is damaged, or would unpack to far more than its size.
    """
    try:
        file = zipfile.ZipFile(path)
    except BAD_ZIP as error:
        raise DatasetError(
            f"{path} is not a zip file, or is damaged ({error}). Copy or download it again."
        ) from None
    unpacked = sum(info.file_size for info in file.infolist())
    if unpacked > max(SMALL_ARCHIVE, LARGEST_RATIO * path.stat().st_size):
        file.close()
        raise DatasetError(
            f"{path} would unpack to {unpacked:,} bytes, over {LARGEST_RATIO} times its size, "
            "which pictures never do. Copy or download it again, or unpack it and give the folder."
        )
    return file


def zip_members(path: Path) -> tuple[list[Path], list[str]]:
    """List the files in a zip as sorted paths below it.

    Returns:
        The paths, and a note for each kind of member that is left out: names that lead out of the
        zip, links, and archives.

    Raises:
        DatasetError: the zip is damaged, encrypted, or holds two files of one name.
    """
    members, left_out = {}, {}
    for info in open_zip(path).infolist():
        name = PurePosixPath(info.filename)
        if not name.parts or info.is_dir():
            continue
        if info.flag_bits & _ENCRYPTED:
            raise DatasetError(
                f"{path}: {info.filename!r:.80} is encrypted. Unpack the zip with its password, "
                "and give the folder."
            )
        if why := _why_left_out(info):
            left_out.setdefault(why, []).append(info.filename)
        elif path / name in members:
            raise DatasetError(
                f"{path} holds {info.filename!r:.80} twice. Unpack it, and give the folder."
            )
        else:
            members[path / name] = None
    notes = [
        f"{path}: skipped {len(names)} {why}: {names[0]!r:.80}{', ...' if names[1:] else ''}"
        for why, names in left_out.items()
    ]
    return sorted(members), notes


def _why_left_out(info: zipfile.ZipInfo) -> str | None:
    """The kind of a member that is not read, as a plural; None for members that are read."""
    name = info.filename
    windows = "\\" in name or PurePosixPath(name).parts[0].endswith(":")
    if windows or name.startswith("/") or ".." in PurePosixPath(name).parts:
        return "files whose names lead out of the zip"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "links"
    if name.lower().endswith(_ARCHIVES):
        return "archives within the zip"
    return None


def zip_of(path: Path) -> Path | None:
    """The zip that holds a path; None if the path exists on the disk or there is no such zip."""
    if path.exists():
        return None
    return next((p for p in path.parents if p.suffix.lower() == ZIP_ENDING and p.is_file()), None)


def file_on_disk(path: Path) -> Path:
    """The zip that holds a file, or the file itself."""
    return zip_of(path) or path


def open_file(path: Path) -> BinaryIO:
    """Open a file, or a member of a zip, for binary reading; the result is seekable.

    Raises:
        OSError: the file cannot be opened.
        DatasetError: the member cannot be unpacked.
    """
    archive = zip_of(path)
    if archive is None:
        return path.open("rb")
    name = path.relative_to(archive)
    try:
        info = _members_of(archive, archive.stat().st_mtime_ns)[str(name)]
        with zipfile.ZipFile(archive) as file, file.open(info) as member:
            if info.file_size <= _IN_MEMORY:
                return io.BytesIO(member.read())
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
            shutil.copyfileobj(member, unpacked)
    except BAD_ZIP as error:
        raise DatasetError(
            f"{path} cannot be unpacked ({error}). Copy or download the zip again."
        ) from None
    unpacked.seek(0)
    return unpacked


@lru_cache(maxsize=8)
def _members_of(archive: Path, changed_ns: int) -> dict[str, zipfile.ZipInfo]:
    """Members by name; ``changed_ns`` is in the cache key, so that a replaced zip is read again."""
    with open_zip(archive) as file:
        return {str(PurePosixPath(info.filename)): info for info in file.infolist()}
