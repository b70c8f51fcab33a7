"""Checks of a volume's header before any voxel is read.

NRRD and MetaImage headers may name another file that holds the voxels, and ITK does not check
where that file is. Any header may claim more voxels than fit in memory, and wrong numbers in a
MetaImage header crash ITK.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path, PureWindowsPath

from ct_lesion.errors import DatasetError

from .text_headers import (
    LONGEST_HEADER,
    META_MATRICES,
    damaged_meta,
    meta_header,
    meta_names,
    nrrd_names,
    split_lines,
)

LARGEST_VOLUME = 2**31
"""Voxels of the largest volume that is read: 1024 x 1024 x 2048, more than a thin-slice scan of the
whole body."""
SMALL_VOLUME = 2**26  # bytes that any file may unpack to
LARGEST_RATIO = 1100
"""Largest ratio of the unpacked size to the size of a compressed file. Deflate reaches at most
1032, and a nearly empty mask comes close."""
_CHUNK = 4 << 20  # bytes

IMAGE_IO = {
    ".nii": "NiftiImageIO",
    ".gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""ITK's reader by file extension. By default, ITK ignores the extension and chooses one of twenty
readers by a file's content."""

_META_SIZES = ("ElementSpacing", "ElementSize")
# NRRD fields without spaces
_NRRD_SIZES, _NRRD_AXES = ("spacings", "spacedirections"), ("spacedirections",)
_UNITS = ("spaceunits", "units", "distanceunits")
_MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")
_NO_UNITS = ("", "?", "???", "none")
_MARKS = re.compile(r'["\s]+')
_SPACES = re.compile(r"(left|right)-(anterior|posterior)-superior(-time)?|(las|lps|ras)t?")


def check_voxels(path: str | Path, size: Sequence[int], what: str) -> None:
    """Refuse a scan that is larger than any scan of a chest.

    Its masks are whole arrays in memory, even if its slices are read on demand.

    Args:
        path: for the message.
        size: voxels along each axis.
        what: words before the size in the message, e.g. "its header says".

    Raises:
        DatasetError: there are more than :data:`LARGEST_VOLUME` voxels.
    """
    if prod(size) > LARGEST_VOLUME:
        raise DatasetError(
            f"{path}: {what} {' x '.join(map(str, size))} voxels; at most "
            f"{LARGEST_VOLUME // 2**20} million are read. Crop or resample it."
        )


def check_volume_size(path: Path, size: tuple[int, ...], voxel_bytes: int) -> None:
    """Refuse a volume that is too large, or larger than its file can hold even if compressed.

    Args:
        path: path of the header; separate files with voxels are added to its size.
        size: voxels along each axis.
        voxel_bytes: bytes per voxel in the file.

    Raises:
        DatasetError: the volume is too large, or the file is damaged.
    """
    sides = " x ".join(map(str, size))
    if min(size, default=0) < 1:
        raise DatasetError(
            f"{path} is damaged: its header says {sides} voxels. Copy or download it again."
        )
    check_voxels(path, size, "its header says")
    stored = sum(file.stat().st_size for file in (path, *data_files(path)))
    if prod(size) * voxel_bytes > max(SMALL_VOLUME, LARGEST_RATIO * stored):
        raise DatasetError(
            f"{path}: its {stored:,} bytes cannot hold the {sides} voxels of its header; it is "
            "damaged or was cut off. Copy or download it again."
        )


def data_files(path: Path) -> tuple[Path, ...]:
    """Find the separate files that hold the voxels of a header; empty if it holds them itself.

    Raises:
        DatasetError: a voxel file is outside the header's folder, or the header is damaged.
    """
    read_names = _READ_NAMES.get(path.suffix.lower())
    if read_names is None:
        return ()
    files = []
    for name in read_names(path):
        parts = Path(name).parts
        if not parts or Path(name).is_absolute() or ".." in parts or PureWindowsPath(name).drive:
            raise DatasetError(
                f"{path}: its header refers to voxels in {name[:200]!r}, outside its own folder. "
                "Move that file beside the header, and correct the name in the header."
            )
        files.append(path.parent / name)
    return tuple(file for file in files if file.is_file())


def missing_geometry(path: Path) -> tuple[bool, bool]:
    """Whether an NRRD or MetaImage header lacks the size of a voxel, and the orientation.

    ITK then assumes 1 mm, and axes to the patient's left, back and head; it assumes these axes also
    for an NRRD space that is not the patient's, e.g. the scanner's.

    Returns:
        Whether the size is missing, and whether the orientation is.

    Raises:
        DatasetError: lengths are in another unit than mm, which ITK ignores.
    """
    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    sizes, axes = (_NRRD_SIZES, _NRRD_AXES) if nrrd else (_META_SIZES, META_MATRICES)
    with path.open("rb") as file:
        lines = split_lines(file.read(LONGEST_HEADER))
    fields = {}
    for line in lines:
        key, _, value = line.partition(":" if nrrd else "=")
        key = "".join(key.split()).lower()
        if not line or key == "elementdatafile":
            break
        fields[key] = value.lower()
    for unit in (_MARKS.sub(" ", fields.get(key, "")) for key in _UNITS):
        other = [word for word in unit.split() if word not in (*_MILLIMETRES, *_NO_UNITS)]
        if other:
            raise DatasetError(
                f"{path}: its lengths are in {other[0]}, but only mm are read. Write its sizes, "
                "directions and origin in mm."
            )
    named = not nrrd or bool(_SPACES.fullmatch(fields.get("space", "").strip()))
    unknown = any(word in fields.get(key, "") for key in _NRRD_SIZES for word in ("nan", "none"))
    given = [any(key.lower() in fields for key in keys) for keys in (sizes, axes)]
    return unknown or not given[0], not (given[1] and named)


def check_compressed_meta(path: Path, voxel_bytes: int) -> None:
    """Check that the voxels of a compressed MetaImage can be unpacked.

    ITK returns uninitialised memory for voxels that it cannot unpack.

    Args:
        path: path of the header.
        voxel_bytes: unpacked bytes of all voxels, by the header.

    Raises:
        DatasetError: the voxels are damaged, not compressed, or not as many as the header says.
    """
    fields, start = meta_header(path)
    files = data_files(path)
    with path.open("rb") as file:
        file.seek(start)
        file.readline()
        packed = [file.read()] if not files else [part.read_bytes() for part in files]
    size = fields.get("CompressedDataSize", "missing")
    if len(packed) == 1:  # other bytes may follow
        packed = [packed[0][: int(size)] if size.isdecimal() else b""]
    try:
        unpacked = sum(_unpacked_size(part, voxel_bytes) for part in packed)
    except zlib.error as error:
        raise damaged_meta(path, f"CompressedData = {fields['CompressedData']}: {error}") from None
    if unpacked != voxel_bytes:
        line = f"CompressedDataSize = {size}: {unpacked:,} bytes, not {voxel_bytes:,}"
        raise damaged_meta(path, line)


def _unpacked_size(packed: bytes, most: int) -> int:
    """Unpacked size of zlib or gzip data in bytes; stops soon after ``most``."""
    unpacker, size = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
    while size <= most and (chunk := unpacker.decompress(packed, _CHUNK)):
        size += len(chunk)
        packed = unpacker.unconsumed_tail
    return size


_READ_NAMES = {".nrrd": nrrd_names, ".nhdr": nrrd_names, ".mha": meta_names, ".mhd": meta_names}
