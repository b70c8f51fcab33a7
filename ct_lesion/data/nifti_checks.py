"""Faults of a NIfTI file that its library hides.

It reads NaN and infinities as 0, which is water, and the end of a file that was cut off as
whatever lies in memory. Both are looked for in the file itself.
"""

from __future__ import annotations

import gzip
import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from .errors import DatasetError

NIFTI_ENDINGS = (".nii", ".nii.gz")
NOT_FINITE = "{path}: holds NaN or infinite values; replace them with air, -1024."
_CHUNK = 4 << 20  # bytes
# offsets and struct codes of (dim, datatype, bitpix, vox_offset) in the two versions' headers
_NIFTI_1 = (348, {"dim": (40, "8h"), "types": (70, "2h"), "vox_offset": (108, "f")})
_NIFTI_2 = (540, {"dim": (16, "8q"), "types": (12, "2h"), "vox_offset": (168, "q")})
_FLOATS = {16: "f4", 64: "f8"}


def check_nifti(path: Path) -> None:
    """Refuse a NIfTI file that was cut off or holds NaN or infinite values.

    Floats and compressed files are read through for it, a few megabytes at a time; of others only
    the size is looked at.

    Raises:
        DatasetError: says which.
    """
    compressed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if compressed else path.open("rb") as file:
            order, fields = _read_header(file)
            start, stop = fields["vox_offset"], fields["vox_offset"] + fields["bytes"]
            if not compressed and path.stat().st_size < stop:
                raise EOFError
            if fields["datatype"] in _FLOATS:
                file.seek(start)
                _check_finite(path, file, stop - start, order + _FLOATS[fields["datatype"]])
            elif compressed:
                file.seek(stop - 1)
                if not file.read(1):
                    raise EOFError
    except EOFError:
        raise DatasetError(f"{path}: cannot be read as a volume (the file was cut off).") from None
    except (OSError, struct.error, KeyError) as error:
        raise DatasetError(f"{path}: cannot be read as a volume ({error}).") from None


def _read_header(file: BinaryIO) -> tuple[str, dict[str, int]]:
    """Byte order and what the header says of the voxels."""
    header = file.read(_NIFTI_2[0])
    for order in "<>":
        for length, places in (_NIFTI_1, _NIFTI_2):
            if len(header) >= length and struct.unpack_from(order + "i", header)[0] == length:
                values = {
                    name: struct.unpack_from(order + code, header, offset)
                    for name, (offset, code) in places.items()
                }
                dim, (datatype, bits) = values["dim"], values["types"]
                voxels = prod(dim[1 : dim[0] + 1])
                offset = int(values["vox_offset"][0])
                size = voxels * bits // 8
                return order, {"vox_offset": offset, "bytes": size, "datatype": datatype}
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
