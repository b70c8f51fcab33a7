"""Writing volumes, which are read back and compared before they replace an existing file.

ITK reports no error when the disk is full or the file exceeds a size limit, and it also reads the
truncated file without an error.
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
_VOXEL_OFFSET = 108  # byte offset of the field vox_offset in the header
_PIECE = 2**22  # bytes compared at a time
_LEVEL = 6  # compression level, as in ITK


def write_volume(path: Path, image: sitk.Image, nifti: NiftiHeader | None = None) -> None:
    """Write a compressed NIfTI file (``.nii.gz``), complete or not at all.

    Args:
        path: path of the file.
        image: its voxels and geometry.
        nifti: for uint8 or uint16 labels of a NIfTI volume, the header of that volume. The labels
            get its qform and sform even if these differ; ITK would write the same orientation
            twice.

    Raises:
        OSError: the file cannot be written, e.g. because the disk is full.
        UserError: the file cannot be written, and the system gives no reason.
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
            with temporary.open("ab") as file:  # raises the OSError that ITK hides
                file.write(bytes(2**20))
            raise UserError(f"{path} was not written ({why}). Check the disk and try again.")


def _write_labels(path: Path, labels: np.ndarray, nifti: NiftiHeader) -> None:
    # without name and time in the gzip header, equal labels give equal files
    with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        packed.write(nifti.of_labels(8 * labels.itemsize))
        packed.write(np.ascontiguousarray(labels))


def _holds(path: Path, voxels: np.ndarray) -> bool:
    """Whether a ``.nii.gz`` is complete and holds exactly these voxels."""
    wanted = memoryview(np.ascontiguousarray(voxels)).cast("B")
    try:
        with gzip.open(path) as file:
            header = file.read(_HEADER)
            file.read(int(struct.unpack_from("<f", header, _VOXEL_OFFSET)[0]) - _HEADER)
            for start in range(0, len(wanted), _PIECE):
                piece = wanted[start : start + _PIECE]
                if file.read(len(piece)) != piece:
                    return False
            return file.read(1) == b""  # this read also verifies the checksum
    except (OSError, EOFError, struct.error, zlib.error):
        return False
