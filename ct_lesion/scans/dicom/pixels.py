"""Pixels of DICOM slices in HU, decoded one at a time.

SimpleITK (GDCM) decodes the pixels, including compressed transfer syntaxes, and applies the rescale
slope and intercept. GDCM only reads files on the disk, so a frame of an enhanced file is written as
a single-slice file, and a member of a zip is copied, to a private folder that is removed at once.
"""

from __future__ import annotations

import shutil
import tempfile
from math import prod
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import CTImageStorage, ImplicitVRLittleEndian, UID_dictionary, generate_uid

from ct_lesion.errors import DatasetError, reason
from ct_lesion.zip_files import open_file, zip_of

from ..scan import AIR_HU, to_hu
from .headers import SliceHeader
from .values import is_compressed, start_of_pixels, whole_of

_PIXEL_TAGS = (
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "RescaleSlope", "RescaleIntercept"),
)


class SeriesSlices:
    """Slices ``(y, x)`` in HU, decoded on demand; padding becomes air."""

    def __init__(self, headers: list[SliceHeader]) -> None:
        self._headers = headers
        self._reader = PixelReader()

    def __call__(self, z: int) -> np.ndarray:
        pixels = self._read(z)
        padding = self._padding(z, pixels)
        if padding is not None:
            pixels[padding] = AIR_HU
        return pixels

    def without_padding(self, z: int) -> np.ndarray:
        """HU of a slice's pixels that are not padding, 1-D; a pixel of air if all are padding."""
        pixels = self._read(z)
        padding = self._padding(z, pixels)
        values = pixels.ravel() if padding is None else pixels[~padding]
        return values if values.size else np.array([AIR_HU], pixels.dtype)

    def _padding(self, z: int, pixels: np.ndarray) -> np.ndarray | None:
        limits = self._headers[z].padding
        return None if limits is None else (pixels >= limits[0]) & (pixels <= limits[1])

    def _read(self, z: int) -> np.ndarray:
        header = self._headers[z]
        pixels = self._reader.read_hu(header)
        if pixels.shape != header.size[::-1]:
            raise DatasetError(
                f"{header.image} contains {pixels.shape[1]} x {pixels.shape[0]} pixels, but its "
                f"tags say {header.size[0]} x {header.size[1]}. Export it again."
            )
        return pixels


class PixelReader:
    """Reads slices in HU; thread-safe. Enhanced files stay open."""

    def __init__(self) -> None:
        self._open: dict[Path, BinaryIO] = {}
        self._lock = Lock()  # threads share the position in an open file

    def read_hu(self, header: SliceHeader) -> np.ndarray:
        """Read a slice, ``(H, W)``: int16 if all values are whole and fit, else float32.

        Raises:
            DatasetError: the pixels cannot be decoded.
        """
        path = header.path
        try:
            if not (header.image.frame or header.inverted or zip_of(path)):
                values = _decode(path)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    copy = Path(folder) / "slice.dcm"
                    self._write_copy(copy, header)
                    values = _decode(copy)
        except DatasetError:
            raise
        except Exception as error:  # damaged bytes can raise anything
            raise DatasetError(
                f"{header.image}: its pixels cannot be decoded ({reason(error)})."
                f"{_advice_on_class(header) or ' Export it again.'}"
            ) from None
        if values.ndim != 2:
            raise DatasetError(
                f"{header.image} is a colour or multi-frame image, not a CT slice. Leave it out."
            )
        return to_hu(values)

    def _write_copy(self, copy: Path, header: SliceHeader) -> None:
        """Write a slice as a file that GDCM decodes.

        MONOCHROME1 only affects the display: HU are the rescaled stored values, as in MONOCHROME2.
        GDCM would invert them, so the tag is changed to MONOCHROME2.
        """
        if header.image.frame:
            self._frame_as_slice(header).save_as(copy, enforce_file_format=True)
            return
        with open_file(header.path) as file:
            if not header.inverted:
                with copy.open("xb") as target:
                    shutil.copyfileobj(file, target)
                return
            dataset = pydicom.dcmread(file, force=True)
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.save_as(copy)

    def _frame_as_slice(self, header: SliceHeader) -> pydicom.Dataset:
        tags, single = header.tags, pydicom.Dataset()
        for name in _PIXEL_TAGS:
            if name in tags:
                single[name] = tags[name]
        single.PhotometricInterpretation = "MONOCHROME2"
        single.SOPClassUID, single.SOPInstanceUID = CTImageStorage, generate_uid()
        single.file_meta = FileMetaDataset()
        meta = tags.file_meta if hasattr(tags, "file_meta") else {}
        single.file_meta.TransferSyntaxUID = meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
        pixels = self._frame_bytes(header)
        compressed = is_compressed(tags)
        single.PixelData = encapsulate([pixels]) if compressed else pixels
        element = single["PixelData"]
        element.VR = "OB" if compressed or whole_of(tags, "BitsAllocated", 16) == 8 else "OW"
        element.is_undefined_length = compressed
        return single

    def _frame_bytes(self, header: SliceHeader) -> bytes:
        """The stored bytes of a frame."""
        tags, index = header.tags, header.image.frame - 1
        with self._lock:
            file = self._open.get(header.path) or open_file(header.path)
            self._open[header.path] = file
            start = start_of_pixels(file, header.pixels_at)
            if is_compressed(tags):
                file.seek(start)
                return get_frame(file, index, number_of_frames=header.frames)
            size = prod(header.size) * whole_of(tags, "BitsAllocated", 16) // 8
            file.seek(start + index * size)
            pixels = file.read(size)
        if len(pixels) < size:
            raise DatasetError(f"{header.image}: the file was cut off during reading. Try again.")
        return pixels


def _decode(path: Path) -> np.ndarray:
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), imageIO="GDCMImageIO"))
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _advice_on_class(header: SliceHeader) -> str:
    """Advice on a SOPClassUID that an anonymiser replaced: GDCM then does not decode the file."""
    sop_class = header.tags.get("SOPClassUID")
    if not sop_class or sop_class in UID_dictionary:
        return ""
    return (
        f" Its SOPClassUID {sop_class} is not a known class of images; an anonymiser may have "
        f"replaced it. Set it to CT Image Storage, {CTImageStorage}."
    )
