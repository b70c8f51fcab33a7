"""Checks of a NIfTI file for damage that ITK hides.

ITK's NIfTI reader returns NaN and infinities as 0, which is water, fills the missing end of a
truncated file with uninitialised memory, and reads a spacing of 0 or NaN as 1 mm. These checks
read the file directly.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ct_lesion.errors import DatasetError

from .headers import check_volume_size
from .nifti_header import NiftiHeader

NIFTI_ENDINGS = (".nii", ".nii.gz")
NOT_FINITE = "{path} contains NaN or infinite values. Replace them with air, -1024 HU."
_CHUNK = 4 << 20  # bytes
_TRAILING = 1 << 20  # bytes that may follow the voxels
_FLOATS = {16: "f4", 64: "f8"}


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file that was cut off or contains NaN or infinite values.

    Float and compressed files are read completely, a few megabytes at a time; for other files, the
    size is compared with the header.

    Raises:
        DatasetError: the file is damaged, or has NaN or infinite values.
    """
    compressed = path.name.lower().endswith(".gz")
    with _faults_named(path), gzip.open(path) if compressed else path.open("rb") as file:
        header = NiftiHeader.read(file)
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


def read_nifti_header(path: Path) -> NiftiHeader:
    """Read the header of a NIfTI file.

    Raises:
        DatasetError: the file is damaged or not NIfTI-1.
    """
    compressed = path.name.lower().endswith(".gz")
    with _faults_named(path), gzip.open(path) if compressed else path.open("rb") as file:
        return NiftiHeader.read(file)


def unpack_nifti(path: Path, unpacked: BinaryIO) -> None:
    """Unpack a ``.nii.gz`` into a file, but no more than its header declares.

    Raises:
        DatasetError: the file is damaged, or holds more than its header declares.
        OSError: the disk is full.
    """
    with _faults_named(path), gzip.open(path) as packed:
        header = NiftiHeader.read(packed)
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
                raise DatasetError(
                    f"{path} unpacks to more than the voxels of its header. Copy or download it "
                    "again."
                )
            unpacked.write(chunk)


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    """Turn errors about damaged bytes into one line with the file's name."""
    try:
        yield
    except DatasetError:
        raise
    except EOFError:
        raise DatasetError(
            f"{path} cannot be read as a volume (the file was cut off). Copy or download it again."
        ) from None
    except (OSError, ValueError, OverflowError, struct.error, zlib.error) as error:
        raise DatasetError(
            f"{path} cannot be read as a volume ({error}). Copy or convert it again."
        ) from None


def _check_finite(path: Path, file: BinaryIO, size: int, dtype: str) -> None:
    left = size
    while left:
        chunk = file.read(min(left, _CHUNK))
        left -= len(chunk)
        if not chunk or len(chunk) % np.dtype(dtype).itemsize:
            raise EOFError
        if not np.isfinite(np.frombuffer(chunk, dtype)).all():
            raise DatasetError(NOT_FINITE.format(path=path))
