"""What a volume's header claims, checked before a voxel is read.

NRRD and MetaImage headers may name another file that holds the voxels, and no library asks where
that lies; and any header may claim more voxels than there is memory.
"""

from __future__ import annotations

import mmap
import re
from math import prod
from pathlib import Path, PureWindowsPath

from ct_lesion.errors import DatasetError

from .meta_headers import check_meta_header

LARGEST_VOLUME = 2**31
"""Voxels of the largest volume that is read: 1024 x 1024 x 2048. A thin-slice scan of the whole
body has fewer."""
SMALL_VOLUME = 2**26  # bytes that any file may unpack to
LARGEST_RATIO = 1100
"""How many times its size a compressed file may unpack to. Deflate itself ends at 1032; a mask that
is nearly empty comes close."""
LONGEST_HEADER = 2**16  # bytes; NRRD and MetaImage headers have some 1,000

IMAGE_IO = {
    ".nii": "NiftiImageIO",
    ".gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""ITK's reader by the name's ending. Left alone, ITK goes by a file's contents, and a file named as
one kind could be read as any of twenty others."""


def check_volume_size(path: Path, size: tuple[int, ...], voxel_bytes: int) -> None:
    """Refuse a volume that is too large, or larger than its file can be unpacked to.

    Args:
        path: of the header; the file beside it counts too.
        size: voxels along each axis.
        voxel_bytes: of a voxel in the file.

    Raises:
        DatasetError: states the size.
    """
    sides = " x ".join(map(str, size))
    if min(size, default=0) < 1:
        raise DatasetError(f"{path}: is damaged, its header says {sides} voxels.")
    if prod(size) > LARGEST_VOLUME:
        raise DatasetError(
            f"{path}: says that it has {sides} voxels; at most {LARGEST_VOLUME // 2**20} million "
            "are read. Crop or resample it."
        )
    there = sum(file.stat().st_size for file in (path, *data_files(path)))
    if prod(size) * voxel_bytes > max(SMALL_VOLUME, LARGEST_RATIO * there):
        raise DatasetError(
            f"{path}: cannot hold the {sides} voxels that its header says, with {there:,} bytes; "
            "it is damaged or was cut off."
        )


def data_files(path: Path) -> tuple[Path, ...]:
    """The other files that hold the voxels of a header; none where it holds them itself.

    Raises:
        DatasetError: one lies outside the header's folder, or the header cannot be understood.
    """
    names_in = _NAMES.get(path.suffix.lower())
    if names_in is None:
        return ()
    files = []
    for name in names_in(path):
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts or PureWindowsPath(name).drive:
            raise DatasetError(
                f"{path}: its voxels would be read from {name[:200]!r}, outside its own folder. "
                "Move that file beside the header, and correct its name there."
            )
        files.append(path.parent / name)
    return tuple(file for file in files if file.is_file())


def _nrrd_names(path: Path) -> list[str]:
    """Of every line that could be taken for one that names a file, up to the empty line."""
    lines = _lines(path)
    if not lines[0].startswith("NRRD"):
        raise DatasetError(f"{path}: cannot be read as a volume (no NRRD header in it).")
    names: list[str] = []
    for number, line in enumerate(lines):
        if not line:
            return names  # the voxels follow
        key, _, value = line.partition(":")
        if "".join(key.split()).lower() == "datafile":
            names += _named(value, lines[number + 1 :])
    if not names:
        raise DatasetError(f"{path}: cannot be read as a volume (its header has no end).")
    return names


def _meta_names(path: Path) -> list[str]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        places = [match.start() for match in re.finditer(rb"(?i)ElementDataFile", content)]
    # a second one, e.g. within a comment, could be the one that ITK takes
    if len(places) != 1 or places[0] > LONGEST_HEADER:
        raise DatasetError(
            f"{path}: cannot be read as a volume ({len(places)} times ElementDataFile in its "
            "header, which has it once)."
        )
    with path.open("rb") as file:
        check_meta_header(path, file.read(places[0]))
        first, *others = _split(file.read(LONGEST_HEADER))
    value = re.sub(r"^\w+\s*[=:]", "", first)
    return [] if value.strip().upper() == "LOCAL" else _named(value, others)


def _named(value: str, lines: list[str]) -> list[str]:
    """File names of a value: a name, a list in the lines that follow, or a pattern with numbers."""
    value = value.strip()
    if value.split(" ")[0].upper().startswith("LIST"):
        return [line.strip() for line in lines if line.strip()]
    return [value.split(" ")[0] if "%" in value else value]


def _lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        return _split(file.read(LONGEST_HEADER))


def _split(content: bytes) -> list[str]:
    return content.decode("latin-1").replace("\r\n", "\n").split("\n")


_NAMES = {".nrrd": _nrrd_names, ".nhdr": _nrrd_names, ".mha": _meta_names, ".mhd": _meta_names}
