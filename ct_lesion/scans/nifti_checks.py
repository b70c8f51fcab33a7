"""Checks of a NIfTI file for damage that ITK hides.

ITK's NIfTI reader returns NaN and infinities as 0, which is water, fills the missing end of a
truncated file with uninitialised memory, and takes a spacing of 0 or NaN for 1 mm. These checks
read the file directly.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite, prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from ct_lesion.errors import DatasetError

from .volume_headers import check_volume_size

NIFTI_ENDINGS = (".nii", ".nii.gz")
NOT_FINITE = "{path}: contains NaN or infinite values; replace them with air, -1024."
_CHUNK = 4 << 20  # bytes
_TRAILING = 1 << 20  # bytes that may follow the voxels
# size of the two versions' headers, and offsets and struct codes of fields in them
_NIFTI_1 = (
    348,
    {"dim": (40, "8h"), "types": (70, "2h"), "pixdim": (76, "8f"), "vox_offset": (108, "f")}
    | {"scaling": (112, "2f"), "magic": (344, "4s")},
)
_NIFTI_2 = (
    540,
    {"dim": (16, "8q"), "types": (12, "2h"), "pixdim": (104, "8d"), "vox_offset": (168, "q")}
    | {"scaling": (176, "2d"), "magic": (4, "4s")},
)
_MAGIC = (b"n+1\0", b"n+2\0")  # "ni1" and "ni2" are headers of a separate file of voxels
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64}
_BITS |= {1280: 64, 1536: 128, 1792: 128, 2048: 256, 2304: 32}
_FLOATS = {16: "f4", 64: "f8"}


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file that was cut off or contains NaN or infinite values.

    Float and compressed files are read completely, a few megabytes at a time; for the others the
    file size is compared with the header.

    Raises:
        DatasetError: with the fault.
    """
    compressed = path.name.lower().endswith(".gz")
    with _faults_named(path), gzip.open(path) if compressed else path.open("rb") as file:
        header = _read_header(file)
        if not compressed and path.stat().st_size < header.stop:
            raise EOFError
        if header.datatype in _FLOATS:
            file.seek(header.start)
            length = header.stop - header.start
            _check_finite(path, file, length, header.order + _FLOATS[header.datatype])
        elif compressed:
            file.seek(header.stop - 1)
            if not file.read(1):
                raise EOFError


def unscaled_intercept(path: Path) -> float:
    """``scl_inter`` of a file that is not scaled (``scl_slope`` is 0 or NaN), otherwise 0.

    Such a file's voxels are its values (NIfTI-1, ``nifti1.h``), but ITK adds the intercept.

    Raises:
        DatasetError: the file is damaged.
    """
    compressed = path.name.lower().endswith(".gz")
    with _faults_named(path), gzip.open(path) if compressed else path.open("rb") as file:
        slope, intercept = _read_header(file).scaling
    return intercept if slope in (0, None) and intercept is not None else 0.0


def unpack_nifti(path: Path, unpacked: BinaryIO) -> None:
    """Unpack a ``.nii.gz`` into a file, but no more than its header declares.

    Raises:
        DatasetError: the file is damaged, or holds more than its header declares.
        OSError: the disk is full.
    """
    with _faults_named(path), gzip.open(path) as packed:
        header = _read_header(packed)
        check_volume_size(path, header.size, header.bits // 8)
    with gzip.open(path) as packed:
        left = header.stop + _TRAILING
        while True:
            with _faults_named(path):
                chunk = packed.read(_CHUNK)
            if not chunk:
                return
            left -= len(chunk)
            if left < 0:
                raise DatasetError(f"{path}: unpacks to more than the voxels of its header.")
            unpacked.write(chunk)


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Turn errors from damaged bytes into one line with the file's name."""
    try:
        yield
    except DatasetError:
        raise
    except EOFError:
        raise DatasetError(f"{path}: cannot be read as a volume (the file was cut off).") from None
    except (OSError, ValueError, OverflowError, struct.error, zlib.error) as error:
        raise DatasetError(f"{path}: cannot be read as a volume ({error}).") from None


class _Header(NamedTuple):
    """Byte order, voxels along each axis, and the bytes of the unpacked file that hold them."""

    order: str
    size: tuple[int, ...]
    datatype: int
    bits: int
    scaling: tuple[float | None, float | None]  # slope and intercept; None if not finite
    start: int
    stop: int


def _read_header(file: BinaryIO) -> _Header:
    header = file.read(_NIFTI_2[0])
    for order in "<>":
        for length, places in (_NIFTI_1, _NIFTI_2):
            if len(header) >= length and struct.unpack_from(order + "i", header)[0] == length:
                values = {
                    name: struct.unpack_from(order + code, header, offset)
                    for name, (offset, code) in places.items()
                }
                dim, (datatype, bits) = values["dim"], values["types"]
                size, start = dim[1 : dim[0] + 1], int(values["vox_offset"][0])
                spacing = values["pixdim"][1:4]
                if values["magic"][0] not in _MAGIC:  # ITK drops position and orientation
                    raise OSError(f"its header has the magic {values['magic'][0]!r}, not NIfTI's")
                if not all(isfinite(mm) and mm for mm in spacing):  # 1 mm to ITK
                    raise OSError(f"its header says a spacing of {spacing} mm")
                if not 1 <= dim[0] <= 7 or min(size) < 1 or start < 0:
                    raise OSError(f"its header says {dim[0]} dimensions of {size}")
                if _BITS.get(datatype) != bits:
                    raise OSError(f"its header says {bits} bits a voxel of type {datatype}")
                stop = start + prod(size) * bits // 8
                scaling = tuple(x if isfinite(x) else None for x in values["scaling"])
                return _Header(order, size, datatype, bits, scaling, start, stop)
    raise OSError("no NIfTI header")


def _check_finite(path: Path, file: BinaryIO, size: int, dtype: str) -> None:
    left = size
    while left:
        chunk = file.read(min(left, _CHUNK))
        left -= len(chunk)
        if not chunk or len(chunk) % np.dtype(dtype).itemsize:
            raise EOFError
        if not np.isfinite(np.frombuffer(chunk, dtype)).all():
            raise DatasetError(NOT_FINITE.format(path=path))
