"""Reading a scan from one volume file (NIfTI, NRRD, MetaImage) with SimpleITK.

Memory: NIfTI and uncompressed MetaImage are read slice by slice, a ``.nii.gz`` from an unpacked
temporary copy. Other files can only be read whole; one copy is kept in memory, as 16-bit integers
if all values are whole numbers in their range.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
import SimpleITK as sitk

from ct_lesion.errors import DatasetError, reason

from .geometry import OrientedSlices
from .quality import check_offset, sample_indices
from .scan import (
    GREY_NOTE,
    HU_OFFSET_NOTE,
    LOWEST_UNPADDED_HU,
    HUSlices,
    ReadOptions,
    Scan,
    check_grey_range,
    check_hu_range,
    place_slices,
)
from .volumes.geometry import place_of, why_unreadable
from .volumes.headers import IMAGE_IO, check_compressed_meta, check_volume_size, data_files
from .volumes.nifti_checks import NIFTI_ENDINGS, check_nifti, read_nifti_header, unpack_nifti
from .volumes.text_headers import is_compressed_meta

META_ENDINGS = (".mha", ".mhd")
VOLUME_ENDINGS = (*NIFTI_ENDINGS, ".nrrd", ".nhdr", *META_ENDINGS)
_SMALL_INTEGERS = (sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16)
_CHECKED_AT_ONCE = 16  # slices


def is_volume_file(path: Path) -> bool:
    """Whether a file has the extension of a volume."""
    return path.name.lower().endswith(VOLUME_ENDINGS)


def volume_stem(path: Path) -> str:
    """The file name without its extension, e.g. without ``.nii.gz``."""
    ending = ".nii.gz" if _is_packed_nifti(path) else path.suffix
    return path.name[: -len(ending)] if ending else path.name


def files_of_volume(path: Path) -> tuple[Path, ...]:
    """The volume's file, and the separate files that hold its voxels, if any."""
    try:
        return (path, *data_files(path))
    except (DatasetError, OSError, ValueError):
        return (path,)  # the error is reported when the volume is opened


def _is_packed_nifti(path: Path) -> bool:
    return path.name.lower().endswith(".nii.gz")


class VolumeFile:
    """The voxels of a volume file, slice by slice along the file's z axis; thread-safe."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            DatasetError: the file is damaged, too large, not a 3-D volume with one number per
                voxel, or its voxels are in another folder.
        """
        self.path = path
        self._reader = sitk.ImageFileReader()
        self._reader.SetImageIO(IMAGE_IO[path.suffix.lower()])
        self._lock = Lock()  # the reader stores the region to extract
        if path.stat().st_size == 0:
            raise DatasetError(
                f"{path} cannot be read as a volume (the file is empty). Copy or download it again."
            )
        data_files(path)
        is_nifti = path.name.lower().endswith(NIFTI_ENDINGS)
        self.nifti = read_nifti_header(path) if is_nifti else None
        self._unpacked = _unpack(path) if _is_packed_nifti(path) else None
        self._reader.SetFileName(self._unpacked.name if self._unpacked else str(path))
        try:
            self._reader.ReadImageInformation()
        except RuntimeError as error:
            raise DatasetError(why_unreadable(path, error, self.nifti)) from None
        self._check_layout()
        check_volume_size(path, self._reader.GetSize(), self._bytes_a_voxel())
        if is_nifti:
            check_nifti(path)
        elif path.name.lower().endswith(META_ENDINGS) and is_compressed_meta(path):
            check_compressed_meta(path, prod(self._reader.GetSize()) * self._bytes_a_voxel())
        # ITK adds the intercept of an unscaled NIfTI file, so it is subtracted from what ITK reads
        self._added = np.float32(self.nifti.unused_intercept if self.nifti else 0)
        self.place = place_of(path, self._reader, self.nifti)
        self.geometry = self.place.geometry
        self.pixel_type = self._reader.GetPixelID()
        self.is_8_bit = self.pixel_type == sitk.sitkUInt8
        if self.pixel_type not in _SMALL_INTEGERS:
            # cast while reading; exact for whole numbers up to 2**24
            self._reader.SetOutputPixelType(sitk.sitkFloat32)
        self._voxels: np.ndarray | None = None if self._streams() else self._read_all()

    def slice(self, z: int) -> np.ndarray:
        """The slice ``(y, x)`` at index ``z``."""
        if self._voxels is not None:
            return self._voxels[z]
        return self._read_slab(z, z + 1)[0]

    def slabs(self) -> Iterator[np.ndarray]:
        """All voxels, a few slices at a time."""
        for start in range(0, self.geometry.size[2], _CHECKED_AT_ONCE):
            stop = min(start + _CHECKED_AT_ONCE, self.geometry.size[2])
            kept = self._voxels
            yield self._read_slab(start, stop) if kept is None else kept[start:stop]

    def lowest_from(self, limit: float) -> float:
        """Lowest value of at least ``limit``; infinity if all are lower."""
        inside = (slab[slab >= limit] for slab in self.slabs())
        return min((float(values.min()) for values in inside if values.size), default=np.inf)

    def value_range(self) -> tuple[float, float]:
        """Lowest and highest value; NaN if a voxel is NaN."""
        extremes = [(slab.min(), slab.max()) for slab in self.slabs()]
        return float(np.min([e[0] for e in extremes])), float(np.max([e[1] for e in extremes]))

    def _check_layout(self) -> None:
        reader = self._reader
        if reader.GetNumberOfComponents() != 1 or "complex" in _type_name(reader):
            raise DatasetError(
                f"{self.path} has {reader.GetNumberOfComponents()} numbers per voxel ("
                f"{_type_name(reader)}). Give a CT volume, which has one."
            )
        extra = [n for n in reader.GetSize()[3:] if n != 1]
        if extra:
            raise DatasetError(
                f"{self.path} has {reader.GetDimension()} dimensions "
                f"({' x '.join(map(str, reader.GetSize()))}). Give a single 3-D volume."
            )
        if reader.GetDimension() < 3:
            raise DatasetError(f"{self.path} is a 2-D image. Give the whole volume.")

    def _bytes_a_voxel(self) -> int:
        return sitk.Image([1, 1], self._reader.GetPixelID()).GetSizeOfPixelComponent()

    def _streams(self) -> bool:
        # measured: SimpleITK streams uncompressed NIfTI (also with a slope) and MetaImage, and
        # reads any other file completely for every slice
        name = self.path.name.lower()
        if name.endswith(".nii") or self._unpacked:
            return True
        return name.endswith(META_ENDINGS) and not is_compressed_meta(self.path)

    def _read_slab(self, start: int, stop: int) -> np.ndarray:
        width, height, _ = self.geometry.size
        more = (0,) * (self._reader.GetDimension() - 3)  # size 0 collapses a dimension of 1
        with self._lock:
            self._reader.SetExtractIndex((0, 0, start, *more))
            self._reader.SetExtractSize((width, height, stop - start, *more))
            voxels = sitk.GetArrayFromImage(self._execute())
        if self._added:
            voxels -= self._added
        return voxels

    def _read_all(self) -> np.ndarray:
        image = self._execute()
        if self._added:
            image = image - float(self._added)
        voxels = np.asarray(_Voxels(image))
        voxels = voxels.reshape(voxels.shape[-3:])
        whole = _as_int16(voxels) if voxels.dtype == np.float32 else None
        return voxels if whole is None else whole

    def _execute(self) -> sitk.Image:
        try:
            return self._reader.Execute()
        except RuntimeError as error:
            why = reason(error)
            raise DatasetError(
                f"{self.path} cannot be read ({why}). Copy or download it again."
            ) from None


class _Voxels:
    """An image's voxels for ``np.asarray``: the array, and views of it, keep the image alive.

    SimpleITK's own view does not, so it would refer to freed memory after the image.
    """

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__


def _unpack(path: Path) -> IO[bytes] | None:
    """Unpack a ``.nii.gz`` into a temporary file that is deleted with the returned object.

    Returns:
        ``None`` if the disk is full.

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
    """A copy in int16; None if the cast would change a value."""
    whole = np.empty(voxels.shape, np.int16)
    for z, pixels in enumerate(voxels):
        with np.errstate(invalid="ignore"):  # NaN becomes a number, so the comparison fails
            whole[z] = pixels
        if not np.array_equal(whole[z], pixels):
            return None
    return whole


def _type_name(reader: sitk.ImageFileReader) -> str:
    return sitk.GetPixelIDValueAsString(reader.GetPixelID())


def open_volume(name: str, path: Path, options: ReadOptions) -> Scan:
    """Open a volume file; all its voxels are read once to check their range.

    Raises:
        DatasetError: the file cannot be read, or its values cannot be HU.
    """
    volume = VolumeFile(path)
    low, high = volume.value_range()
    notes = []
    read = OrientedSlices(volume.geometry, volume.slice)
    if volume.is_8_bit:
        check_grey_range(path, high)
        notes.append(GREY_NOTE)
        if options.hu_offset is not None or options.window is not None:
            notes.append("--hu and the window do not apply to 8-bit volumes")
    else:
        offset = options.hu_offset or 0.0
        advice = "If the HU are shifted, give the shift, e.g. --hu 1024 if 0 stands for -1024 HU."
        check_hu_range(path, low - offset, high - offset, advice)
        if low - offset < LOWEST_UNPADDED_HU:
            inside = volume.lowest_from(LOWEST_UNPADDED_HU + offset) - offset
            advice += f" Values below {LOWEST_UNPADDED_HU} count as padding."
            check_hu_range(path, min(inside, high - offset), high - offset, advice)
        if offset:
            sampled = [volume.slice(z) for z in sample_indices(volume.geometry.size[2])]
            check_offset(path, sampled, offset)
        read = HUSlices(read, offset)
        if offset:
            notes.append(HU_OFFSET_NOTE.format(offset=offset))
    fields = place_slices(volume.geometry)
    if not volume.place.has_sizes:
        fields["spacing_mm"] = None
    if not volume.place.has_axes:
        fields["z_mm"] = None
    return Scan(
        name=name,
        kind="volume",
        files=files_of_volume(path),
        is_hu=not volume.is_8_bit,
        window=None if volume.is_8_bit else options.window,
        read_slice=read,
        notes=notes,
        qc=list(volume.place.findings),
        nifti=volume.nifti,
        **fields,
    )
