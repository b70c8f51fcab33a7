"""Writing of volumes, which are read back before they get their name.

ITK reports no error when the disk is full or the file may not grow further, and it reads the
truncated file without an error too.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import UserError, reason
from ct_lesion.files import atomic_write

from .volumes.nifti_header import NiftiHeader

_HEADER = 352  # bytes of NIfTI-1 before the voxels, if there are no extensions
_VOXEL_OFFSET = 108  # place of vox_offset in the header
_PIECE = 2**22  # bytes that are compared at a time
_LEVEL = 6  # of compression, as ITK's


def write_volume(path: Path, image: sitk.Image, nifti: NiftiHeader | None = None) -> None:
    """Write a compressed NIfTI file (``.nii.gz``), complete or not at all.

    Args:
        path: of the file.
        image: its voxels and place.
        nifti: for uint8 or uint16 labels of a NIfTI volume, the header of that volume: the labels
            get the same qform and sform, also where these differ. ITK would write one place as
            both.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
        UserError: the same, where the system gives no reason.
    """
    with atomic_write(path) as temporary:
        try:
            if nifti is None:
                sitk.WriteImage(image, str(temporary), useCompression=True)
            else:
                _write_labels(temporary, sitk.GetArrayViewFromImage(image), nifti)
            why = None if _holds(temporary, sitk.GetArrayViewFromImage(image)) else "incomplete"
        except RuntimeError as error:
            why = reason(error)
        if why:
            with temporary.open("ab") as file:  # raises the error that ITK hides
                file.write(bytes(2**20))
            raise UserError(f"{path}: was not written ({why}). Check the disk, and try again.")


def _write_labels(path: Path, labels: np.ndarray, nifti: NiftiHeader) -> None:
    # no name and no time, so that equal labels give equal files
    with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        packed.write(nifti.of_labels(8 * labels.itemsize))
        packed.write(np.ascontiguousarray(labels))


def _holds(path: Path, voxels: np.ndarray) -> bool:
    """Whether a complete ``.nii.gz`` holds exactly these voxels."""
    wanted = memoryview(np.ascontiguousarray(voxels)).cast("B")
    try:
        with gzip.open(path) as file:
            header = file.read(_HEADER)
            file.read(int(struct.unpack_from("<f", header, _VOXEL_OFFSET)[0]) - _HEADER)
            for start in range(0, len(wanted), _PIECE):
                piece = wanted[start : start + _PIECE]
                if file.read(len(piece)) != piece:
                    return False
            return file.read(1) == b""  # also checks the checksum at the end
    except (OSError, EOFError, struct.error, zlib.error):
        return False
