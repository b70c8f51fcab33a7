"""The header of a NIfTI-1 file: type, scaling, and position of its voxels.

A header may give the orientation twice: as rotation and shift (qform) and as matrix (sform), each
with a code that is 0 if it is missing. ITK uses one of them and ignores the other. Field offsets:
https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from typing import BinaryIO

import numpy as np

HEADER_BYTES = 348
_NIFTI_2_BYTES = 540
_VOXELS_AT = HEADER_BYTES + 4  # in a file without extensions
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64}
_BITS |= {1280: 64, 1536: 128, 1792: 128, 2048: 256, 2304: 32}
_UINT8, _UINT16 = 2, 512
_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # mm per unit, by code: metre, millimetre, micrometre
_LARGEST_GAP = 0.25  # between two forms of the header, as a share of the smallest voxel side


@dataclass(frozen=True)
class NiftiHeader:
    """The header of a file.

    Attributes:
        content: the 348 bytes.
        order: byte order, ``<`` or ``>``.
        size: voxels along each axis.
        datatype: NIfTI code of the voxels' type.
        bits: per voxel.
        start, stop: byte range of the voxels in the unpacked file.
    """

    content: bytes
    order: str
    size: tuple[int, ...]
    datatype: int
    bits: int
    start: int
    stop: int

    @classmethod
    def read(cls, file: BinaryIO) -> NiftiHeader:
        """Read the header at the start of an unpacked file.

        Raises:
            OSError: the file has no usable NIfTI-1 header.
        """
        content = file.read(HEADER_BYTES)
        for order in "<>":
            length = struct.unpack_from(f"{order}i", content)[0] if len(content) >= 4 else 0
            if length == _NIFTI_2_BYTES:
                raise OSError("NIfTI-2 is not supported: convert it to NIfTI-1")
            if length == HEADER_BYTES == len(content):
                return cls._parse(content, order)
        raise OSError("no NIfTI header")

    @classmethod
    def _parse(cls, content: bytes, order: str) -> NiftiHeader:
        dim = struct.unpack_from(f"{order}8h", content, 40)
        datatype, bits = struct.unpack_from(f"{order}2h", content, 70)
        start = int(struct.unpack_from(f"{order}f", content, 108)[0])
        size = dim[1 : dim[0] + 1]
        pixdim = struct.unpack_from(f"{order}3f", content, 80)
        if content[344:348] != b"n+1\0":  # ITK drops the orientation of Analyze files
            raise OSError(
                f"its header has the magic {content[344:348]!r}, so it is Analyze 7.5 or has its "
                "voxels in another file: convert it to NIfTI-1"
            )
        if not all(isfinite(side) and side > 0 for side in pixdim):  # ITK reads 0 as 1 mm
            raise OSError(f"its header gives a spacing of {pixdim} mm")
        if not 1 <= dim[0] <= 7 or min(size) < 1 or start < 0:
            raise OSError(f"its header gives {dim[0]} dimensions of {size}")
        if _BITS.get(datatype) != bits:
            raise OSError(f"its header gives {bits} bits per voxel of type {datatype}")
        stop = start + prod(size) * bits // 8
        return cls(content, order, size, datatype, bits, start, stop)

    def _numbers(self, code: str, offset: int) -> np.ndarray:
        return np.array(struct.unpack_from(self.order + code, self.content, offset))

    @property
    def unused_intercept(self) -> float:
        """``scl_inter`` of a file that is not scaled (``scl_slope`` is 0 or NaN), otherwise 0.

        The stored values of such a file are its values, but ITK adds the intercept.
        """
        slope, intercept = struct.unpack_from(f"{self.order}2f", self.content, 112)
        return intercept if not (isfinite(slope) and slope) and isfinite(intercept) else 0.0

    @property
    def voxel_sides(self) -> np.ndarray:
        """``pixdim`` of x, y and z as stored."""
        return self._numbers("3f", 80)

    @property
    def _codes(self) -> tuple[int, int]:
        """``qform_code`` and ``sform_code``."""
        return struct.unpack_from(f"{self.order}2h", self.content, 252)

    @cached_property
    def forms(self) -> dict[str, np.ndarray]:
        """The given orientations by name: (3, 4) from voxel indices to RAS in mm."""
        qform, sform = self._codes
        # the lowest three bits are the unit of length; ITK reads an unknown unit as mm
        mm = _MM.get(self.content[123] & 7, 1.0)
        forms = {}
        if qform > 0:
            forms["qform"] = mm * self._qform()
        if sform > 0:
            forms["sform"] = mm * self._numbers("12f", 280).reshape(3, 4)
        return forms

    def _qform(self) -> np.ndarray:
        b, c, d, *shift = self._numbers("6f", 256)
        a = np.sqrt(max(0.0, 1 - b * b - c * c - d * d))
        turn = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        mirrored = self._numbers("f", 76)[0] < 0
        sides = self.voxel_sides * (1, 1, -1 if mirrored else 1)
        return np.column_stack([turn * sides, shift])

    def disagreements(self, matrix: np.ndarray) -> dict[str, float]:
        """The forms that disagree with ``matrix``, and the largest distance of a corner in mm.

        Args:
            matrix: (3, 4) from voxel indices to RAS in mm, as ITK reads the file.
        """
        last = np.array([*self.size[:3], *[1] * (3 - len(self.size[:3]))]) - 1
        corners = np.array([[*(last * corner), 1] for corner in np.ndindex(2, 2, 2)])
        side = np.linalg.norm(matrix[:, :3], axis=0).min()
        apart = {
            name: float(np.linalg.norm(corners @ (form - matrix).T, axis=1).max())
            for name, form in self.forms.items()
        }
        return {name: mm for name, mm in apart.items() if not mm <= _LARGEST_GAP * side}

    def of_labels(self, bits: int = 8) -> bytes:
        """The header of a ``.nii`` file, up to its voxels, for unsigned labels on the same grid.

        Size, units, qform and sform are copied. Texts are not, because they may name the patient.

        Args:
            bits: per label, 8 or 16.
        """
        header = bytearray(_VOXELS_AT)
        pixdim = self._numbers("8f", 76)
        struct.pack_into("<i", header, 0, HEADER_BYTES)
        struct.pack_into("<8h", header, 40, 3, *self.size[:3], 1, 1, 1, 1)
        struct.pack_into("<2h", header, 70, {8: _UINT8, 16: _UINT16}[bits], bits)
        struct.pack_into("<8f", header, 76, *pixdim)
        struct.pack_into("<3f", header, 108, _VOXELS_AT, 1.0, 0.0)
        header[123] = self.content[123]
        struct.pack_into("<2h", header, 252, *self._codes)
        struct.pack_into("<18f", header, 256, *self._numbers("18f", 256))
        header[344:348] = b"n+1\0"
        return bytes(header)
