"""Checking values of a DICOM header: finite numbers, plausible image tags, complete pixels."""

from __future__ import annotations

import struct
from math import isfinite
from typing import Any, BinaryIO

import pydicom
from pydicom.errors import InvalidDicomError

from ct_lesion.pictures import check_picture_size

from ..geometry import LARGEST_NUMBER

BITS_ALLOCATED = (8, 16, 32)
# to read its first tag, pydicom and GDCM unpack such a file completely, to any size
DEFLATED = b"1.2.840.10008.1.2.1.99"
_FLOAT_PIXELS = (b"\xe0\x7f\x08\x00", b"\xe0\x7f\x09\x00")  # of 32 and 64 bits
_PIXEL_DATA = {b"\xe0\x7f\x10\x00": "<", b"\x7f\xe0\x00\x10": ">"}  # byte order of the tag
_LONG_VRS = (b"OW", b"OB", b"UN")
_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # of compressed pixels
_PADDING = b"\xfc\xff\xfc\xff"  # DataSetTrailingPadding
_MOST_FRAGMENTS = 10_000
_MOST_TRAILING = 2**16  # bytes after the pixels, e.g. a signature


def number_of(header: pydicom.Dataset, keyword: str, default: float | None = None) -> float | None:
    """A tag's only value as a finite number; ``default`` if it is missing or empty.

    Raises:
        InvalidDicomError: the value is not a usable number.
    """
    value = header.get(keyword)
    if value is None or value == "":
        return default
    return _number(keyword, value)


def whole_of(header: pydicom.Dataset, keyword: str, default: int = 0) -> int:
    """A tag's only value as a non-negative integer; ``default`` if it is missing or empty.

    Raises:
        InvalidDicomError: the value is not a non-negative integer.
    """
    value = number_of(header, keyword, default)
    if value != int(value) or value < 0:
        raise InvalidDicomError(f"{keyword} is {value:g}, not a non-negative integer")
    return int(value)


def numbers_of(header: pydicom.Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """A tag's values as finite numbers; ``None`` if it is missing or empty.

    Raises:
        InvalidDicomError: there are not ``count`` values, or one is not a usable number.
    """
    value = header.get(keyword)
    if value is None or value == "":
        return None
    values = (
        list(value) if isinstance(value, (list, tuple, pydicom.multival.MultiValue)) else [value]
    )
    if len(values) != count:
        raise InvalidDicomError(f"{keyword} has {len(values)} values, expected {count}")
    return tuple(_number(keyword, item) for item in values)


def _number(keyword: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidDicomError(f"{keyword} is {str(value)[:40]!r}, not a number") from None
    if not isfinite(number) or abs(number) > 2**32:
        raise InvalidDicomError(f"{keyword} is {number:g}, not a usable number")
    return number


def text_of(header: pydicom.Dataset, keyword: str) -> str:
    """A tag's value as text without surrounding spaces; empty if it is missing or empty."""
    value = header.get(keyword)
    return "" if value is None else str(value).strip()


def padding_of(header: pydicom.Dataset) -> tuple[float, float] | None:
    """Lowest and highest HU of padding, by PixelPaddingValue and PixelPaddingRangeLimit.

    Args:
        header: checked by :func:`check_image_tags`.

    Raises:
        InvalidDicomError: a value is not an integer.
    """
    if text_of(header, "PixelPaddingValue") == "":
        return None
    value = _stored(header, "PixelPaddingValue")
    has_limit = text_of(header, "PixelPaddingRangeLimit") != ""
    limit = _stored(header, "PixelPaddingRangeLimit") if has_limit else value
    slope = number_of(header, "RescaleSlope", 1.0)
    intercept = number_of(header, "RescaleIntercept", 0.0)
    low, high = sorted((slope * value + intercept, slope * limit + intercept))
    return low - abs(slope) / 4, high + abs(slope) / 4  # rescaled pixels are rounded


def _stored(header: pydicom.Dataset, keyword: str) -> int:
    """A stored pixel value as decoders return it: BitsStored bits, signed or unsigned.

    Some writers put signed padding into an unsigned tag, or the other way round.
    """
    number = number_of(header, keyword)
    if number != int(number):
        raise InvalidDicomError(f"{keyword} is {number:g}, not an integer")
    bits = whole_of(header, "BitsStored", whole_of(header, "BitsAllocated", 16))
    value = int(number) & ((1 << bits) - 1)
    signed = whole_of(header, "PixelRepresentation") == 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def check_image_tags(path: object, header: pydicom.Dataset) -> None:
    """Check size, bits and rescaling of a CT slice.

    Args:
        path: for messages.

    Raises:
        InvalidDicomError: a value is impossible for a CT slice.
        DatasetError: the slice is larger than any CT slice.
    """
    rows, columns = whole_of(header, "Rows"), whole_of(header, "Columns")
    if not rows or not columns:
        raise InvalidDicomError("it holds no image")
    check_picture_size(path, columns, rows)
    if whole_of(header, "NumberOfFrames", 1) > 1 or whole_of(header, "SamplesPerPixel", 1) != 1:
        raise InvalidDicomError("a colour or multi-frame image, not a CT slice")
    allocated = whole_of(header, "BitsAllocated", 16)
    stored = whole_of(header, "BitsStored", allocated)
    highest = whole_of(header, "HighBit", max(stored - 1, 0))
    if allocated not in BITS_ALLOCATED:
        raise InvalidDicomError(f"BitsAllocated is {allocated}, not 8, 16 or 32")
    if not 1 <= stored <= allocated or highest >= allocated:
        raise InvalidDicomError(
            f"BitsStored {stored} and HighBit {highest} do not fit BitsAllocated {allocated}"
        )
    if highest >= stored:  # GDCM reads the lowest bits and ignores HighBit
        raise InvalidDicomError(
            f"HighBit is {highest} but BitsStored {stored}: its pixels may not be in the lowest "
            f"bits. If they are, set HighBit to {stored - 1}"
        )
    if header.get("ModalityLUTSequence"):
        raise InvalidDicomError("its HU are in a lookup table (ModalityLUTSequence), not supported")
    if whole_of(header, "PixelRepresentation") > 1:
        raise InvalidDicomError("PixelRepresentation is neither 0 nor 1")
    slope = number_of(header, "RescaleSlope", 1.0)
    intercept = number_of(header, "RescaleIntercept", 0.0)
    if not 0 < abs(slope) <= LARGEST_NUMBER or abs(intercept) > LARGEST_NUMBER:
        raise InvalidDicomError(
            f"HU = {slope:g} x stored + {intercept:g} is not a usable rescaling"
        )


def check_pixel_data(header: pydicom.Dataset, file: BinaryIO, start: int, frames: int = 1) -> None:
    """Check that a file has as many pixels as its tags say.

    GDCM fills missing pixels with arbitrary memory and ignores surplus ones.

    Args:
        header: header of the slice or of any frame, checked by :func:`check_image_tags`.
        file: the open file.
        start: byte offset of the PixelData element.
        frames: number of frames.

    Raises:
        InvalidDicomError: the length is wrong by a row or more, there are no pixels, or too many
            bytes follow them.
    """
    is_long, length = _pixel_element(file, start)
    size = file.seek(0, 2)
    first = start + (12 if is_long else 8)
    # the length of compressed pixels is unknown, but the decoder notices damage
    if is_compressed(header):
        end, count = _end_of_fragments(file, first, max(_MOST_FRAGMENTS, 2 * frames))
        if frames > 1 and (end > size or count < frames):
            raise InvalidDicomError("the file was cut off")
        _check_end(file, min(end, size))
        return
    row = whole_of(header, "Columns") * whole_of(header, "BitsAllocated", 16) // 8
    expected = row * whole_of(header, "Rows") * frames
    if size - first < expected:
        raise InvalidDicomError("the file was cut off")
    if length == _UNDEFINED or not expected <= length < expected + row:
        many = f"{frames:,} frames, " if frames > 1 else ""
        raise InvalidDicomError(
            f"its pixels take {length:,} bytes, but {many}Rows, Columns and BitsAllocated say "
            f"{expected:,}; one of these tags is wrong"
        )
    _check_end(file, first + length)


def is_compressed(header: pydicom.Dataset) -> bool:
    """Whether a file's pixels are compressed; not if it has no transfer syntax."""
    meta = header.file_meta if hasattr(header, "file_meta") else {}
    syntax = meta.get("TransferSyntaxUID")
    return syntax is not None and syntax.is_compressed


def start_of_pixels(file: BinaryIO, start: int) -> int:
    """Byte offset of the pixels in the PixelData element at ``start``."""
    return start + (12 if _pixel_element(file, start)[0] else 8)


def _pixel_element(file: BinaryIO, start: int) -> tuple[bool, int]:
    """Whether the PixelData element has a head of 12 bytes instead of 8, and its length."""
    file.seek(start)
    head = file.read(12)
    if head[:4] in _FLOAT_PIXELS:
        raise InvalidDicomError(
            "its pixels are floating-point numbers (FloatPixelData), not supported: convert it to "
            "integers with a rescaling, or to NIfTI"
        )
    order = _PIXEL_DATA.get(head[:4])
    if order is None or len(head) < 12:
        raise InvalidDicomError("the file was cut off before its pixels")
    is_long = head[4:6] in _LONG_VRS
    (length,) = struct.unpack_from(f"{order}I", head, 8 if is_long else 4)
    return is_long, length


def _end_of_fragments(file: BinaryIO, start: int, most: int) -> tuple[int, int]:
    """Byte offset of the end of compressed pixels, which are items of explicit length and a
    delimiter, and the number of fragments without the offset table."""
    for count in range(-1, most):
        file.seek(start)
        head = file.read(8)
        if head[:4] == _DELIMITER:
            return start + 8, count
        if head[:4] != _ITEM or len(head) < 8:
            return file.seek(0, 2), count  # the decoder notices the damage
        start += 8 + struct.unpack("<I", head[4:])[0]
    raise InvalidDicomError(f"its compressed pixels have more than {most:,} fragments")


def _check_end(file: BinaryIO, end: int) -> None:
    """Refuse bytes after the pixels: GDCM would search them for tags, seconds per megabyte."""
    trailing = file.seek(0, 2) - end
    if trailing <= _MOST_TRAILING:
        return
    file.seek(end)
    head = file.read(12)
    if head[:4] != _PADDING or struct.unpack("<I", head[8:12])[0] != trailing - 12:
        raise InvalidDicomError(f"it has {trailing:,} bytes after its pixels that are not padding")
