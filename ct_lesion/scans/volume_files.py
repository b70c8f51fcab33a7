"""Reading a scan from one volume file (NIfTI, NRRD, MetaImage) with SimpleITK.

Memory: NIfTI and uncompressed MetaImage are read slice by slice, a ``.nii.gz`` from a temporary
copy that is unpacked. Other files can only be read whole; they are then kept once, as 16-bit
integers where the values are whole numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import DatasetError, reason

from .geometry import Geometry, OrientedSlices, check_geometry
from .nifti_checks import NIFTI_ENDINGS, check_nifti, unpack_nifti
from .scan import (
    DEFAULT_WINDOW,
    GREY_NOTE,
    HU_NOTE,
    STORABLE,
    ReadOptions,
    Scan,
    check_grey_range,
    check_hu_range,
    place_slices,
)
from .volume_headers import IMAGE_IO, check_volume_size, data_files

VOLUME_ENDINGS = (*NIFTI_ENDINGS, ".nrrd", ".nhdr", ".mha", ".mhd")
_SMALL_INTEGERS = (sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16)
_CHECKED_AT_ONCE = 16  # slices


def is_volume_file(path: Path) -> bool:
    """Whether the name is that of a volume file."""
    return path.name.lower().endswith(VOLUME_ENDINGS)


def volume_stem(path: Path) -> str:
    """The name without its ending, ``.nii.gz`` being one."""
    ending = next((e for e in (".nii.gz",) if path.name.lower().endswith(e)), path.suffix)
    return path.name[: -len(ending)] if ending else path.name


def files_of_volume(path: Path) -> tuple[Path, ...]:
    """The file, and the one with the voxels where the header stands alone."""
    try:
        return (path, *data_files(path))
    except (DatasetError, OSError, ValueError):
        return (path,)  # said when it is opened


class VolumeFile:
    """The voxels of a volume file, by slice along the file's own z; for several threads."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DatasetError: no volume of three dimensions with one number a voxel, too large, or with
                voxels in another folder.
        """
        self.path = path
        self._reader = sitk.ImageFileReader()
        self._reader.SetImageIO(IMAGE_IO[path.suffix.lower()])
        self._lock = Lock()  # what to extract is set on the reader before it reads
        if path.stat().st_size == 0:
            raise DatasetError(f"{path}: cannot be read as a volume (the file is empty).")
        data_files(path)
        self._unpacked = _unpack(path) if path.name.lower().endswith(".nii.gz") else None
        self._reader.SetFileName(self._unpacked.name if self._unpacked else str(path))
        try:
            self._reader.ReadImageInformation()
        except RuntimeError as error:
            raise DatasetError(f"{path}: cannot be read as a volume ({reason(error)}).") from None
        self._check_layout()
        check_volume_size(path, self._reader.GetSize(), self._bytes_a_voxel())
        if path.name.lower().endswith(NIFTI_ENDINGS):
            check_nifti(path)
        self.geometry = _geometry(self._reader)
        check_geometry(path, self.geometry)
        self.pixel_type = self._reader.GetPixelID()
        self.is_8_bit = self.pixel_type == sitk.sitkUInt8
        if self.pixel_type not in _SMALL_INTEGERS:
            # a cast while reading: exact for whole numbers up to 2**24
            self._reader.SetOutputPixelType(sitk.sitkFloat32)
        self._voxels: np.ndarray | None = None if self._streams() else self._read_all()

    def slice(self, z: int) -> np.ndarray:
        """The slice ``(y, x)`` at ``z``."""
        if self._voxels is not None:
            return self._voxels[z]
        return self._read_slab(z, z + 1)[0]

    def slabs(self) -> Iterator[np.ndarray]:
        """All voxels, some slices at a time."""
        for start in range(0, self.geometry.size[2], _CHECKED_AT_ONCE):
            stop = min(start + _CHECKED_AT_ONCE, self.geometry.size[2])
            kept = self._voxels
            yield self._read_slab(start, stop) if kept is None else kept[start:stop]

    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value; NaN if there is one."""
        extremes = [(slab.min(), slab.max()) for slab in self.slabs()]
        return float(np.min([e[0] for e in extremes])), float(np.max([e[1] for e in extremes]))

    def _check_layout(self) -> None:
        reader = self._reader
        if reader.GetNumberOfComponents() != 1 or "complex" in _type_name(reader):
            raise DatasetError(
                f"{self.path}: {reader.GetNumberOfComponents()} numbers a voxel ("
                f"{_type_name(reader)}); a CT has one."
            )
        extra = [n for n in reader.GetSize()[3:] if n != 1]
        if extra:
            raise DatasetError(
                f"{self.path}: {reader.GetDimension()} dimensions "
                f"({' x '.join(map(str, reader.GetSize()))}); give one volume of three."
            )
        if reader.GetDimension() < 3:
            raise DatasetError(f"{self.path}: an image of two dimensions, not a volume.")

    def _bytes_a_voxel(self) -> int:
        return sitk.Image([1, 1], self._reader.GetPixelID()).GetSizeOfPixelComponent()

    def _streams(self) -> bool:
        # Uncompressed NIfTI (scaled ones too) and MetaImage, as measured; asking SimpleITK for a
        # slice of any other file reads it all again.
        name = self.path.name.lower()
        if name.endswith(".nii") or self._unpacked:
            return True
        return name.endswith((".mha", ".mhd")) and not _is_compressed(self.path)

    def _read_slab(self, start: int, stop: int) -> np.ndarray:
        width, height, _ = self.geometry.size
        more = (0,) * (self._reader.GetDimension() - 3)  # dimensions of length 1 collapse
        with self._lock:
            self._reader.SetExtractIndex((0, 0, start, *more))
            self._reader.SetExtractSize((width, height, stop - start, *more))
            return sitk.GetArrayFromImage(self._execute())

    def _read_all(self) -> np.ndarray:
        image = self._execute()
        voxels = sitk.GetArrayViewFromImage(image)
        voxels = voxels.reshape(voxels.shape[-3:])
        whole = _as_int16(voxels) if voxels.dtype == np.float32 else None
        if whole is not None:
            return whole
        self._image = image  # its memory is what the view shows
        return voxels

    def _execute(self) -> sitk.Image:
        try:
            return self._reader.Execute()
        except RuntimeError as error:
            raise DatasetError(f"{self.path}: cannot be read ({reason(error)}).") from None


def _unpack(path: Path) -> IO[bytes] | None:
    """A copy of a gzip file without compression, which goes away with the object.

    Returns:
        ``None`` where there is no room for it.

    Raises:
        DatasetError: the file is damaged.
    """
    unpacked = tempfile.NamedTemporaryFile(suffix=".nii")  # noqa: SIM115 (closed with the scan)
    try:
        unpack_nifti(path, unpacked)
        unpacked.flush()
    except BaseException as error:
        unpacked.close()
        if isinstance(error, OSError):
            return None
        raise
    return unpacked


def _as_int16(voxels: np.ndarray) -> np.ndarray | None:
    """A copy of half the size, or None if it would change a value."""
    whole = np.empty(voxels.shape, np.int16)
    for z, pixels in enumerate(voxels):
        with np.errstate(invalid="ignore"):  # NaN becomes some number, which then differs
            whole[z] = pixels
        if not np.array_equal(whole[z], pixels):
            return None
    return whole


def _geometry(reader: sitk.ImageFileReader) -> Geometry:
    """Geometry of the first three dimensions; any others have a length of 1."""
    dimension = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (dimension, dimension))[:3, :3]
    return Geometry(
        reader.GetSize()[:3],
        reader.GetSpacing()[:3],
        reader.GetOrigin()[:3],
        tuple(float(cosine) for cosine in direction.ravel()),
    )


def _is_compressed(path: Path) -> bool:
    """Whether a MetaImage header says so."""
    with path.open("rb") as file:
        header = file.read(4096).split(b"ElementDataFile")[0]
    return b"CompressedData = True" in header


def _type_name(reader: sitk.ImageFileReader) -> str:
    return sitk.GetPixelIDValueAsString(reader.GetPixelID())


class HUSlices:
    """Slices of stored values, turned into HU by an offset."""

    def __init__(self, read, offset: float) -> None:
        self._read, self._offset = read, offset

    def __call__(self, index: int) -> np.ndarray:
        """HU ``(H, W)``: int16 where the values are whole numbers and fit, else float32."""
        return to_hu(self._read(index), self._offset)


def to_hu(stored: np.ndarray, offset: float = 0.0) -> np.ndarray:
    """Stored values less an offset, in int16 if these are whole numbers and fit, else float32."""
    if stored.dtype.kind in "iu" and float(offset).is_integer():
        hu = stored.astype(np.int64) - int(offset)
        if hu.min() >= STORABLE[0] and hu.max() <= STORABLE[1]:
            return hu.astype(np.int16)
        return hu.astype(np.float32)
    return stored.astype(np.float32) - np.float32(offset)


def open_volume(name: str, path: Path, options: ReadOptions) -> Scan:
    """Open a volume file; all its values are checked once.

    Raises:
        DatasetError: it cannot be read, or its values cannot be HU.
    """
    volume = VolumeFile(path)
    low, high = volume.value_range()
    notes = []
    read = OrientedSlices(volume.geometry, volume.slice)
    if volume.is_8_bit:
        check_grey_range(path, high)
        window = None
        notes.append(GREY_NOTE)
        if options.hu_offset is not None or options.window is not None:
            notes.append("--hu and the window do not apply to 8-bit volumes")
    else:
        offset = options.hu_offset or 0.0
        check_hu_range(
            path,
            low - offset,
            high - offset,
            "If HU were shifted, say by how much: --hu 1024 for 0 = -1024 HU.",
        )
        read = HUSlices(read, offset)
        window = options.window or DEFAULT_WINDOW
        if offset:
            notes.append(f"HU = stored value - {offset:g}, as --hu says")
        notes.append(HU_NOTE.format(window=window.label))
    count = volume.geometry.shape[0]
    return Scan(
        name=name,
        kind="volume",
        files=files_of_volume(path),
        is_hu=not volume.is_8_bit,
        window=window,
        read_slice=read,
        slice_names=[f"{index:04d}" for index in range(count)],
        notes=notes,
        **place_slices(volume.geometry),
    )
