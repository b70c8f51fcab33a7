"""Decodes image files strictly: damage that Pillow tolerates is an error here."""

from __future__ import annotations

import hashlib
import stat
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from ct_lesion.errors import reason
from ct_lesion.pictures import (
    DEEP_MODES,
    GREY_MODES,
    MOST_COLOUR,
    PictureError,
    bits_of,
    colour_spread,
    open_picture,
    upright,
)

MOST_FILE_BYTES = 256 * 1024**2


@dataclass
class FileDetails:
    """Details of an image file, filled in while it is read, so that they survive an error.

    Attributes:
        width, height: size in pixels; of the upright picture once it is decoded.
        note: a problem of an image that can still be decoded, e.g. a wrong mode.
    """

    file_bytes: int | None = None
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    bits: int | None = None
    width: int | None = None
    height: int | None = None
    note: PictureError | None = None


def decode_strictly(path: Path, details: FileDetails) -> np.ndarray:
    """Decode the first page of an image file; also reject damage that Pillow tolerates.

    Args:
        path: any file.
        details: filled in by this function, as far as it gets.

    Returns:
        ``(H, W)``, or ``(H, W, 3)`` for a colour picture; uint8, or the deeper type of the file.

    Raises:
        PictureError: the file cannot be decoded completely.
    """
    data = _read_file(path, details)
    try:
        # ignore Pillow's warnings about large images (checked by open_picture) and odd tags
        with warnings.catch_warnings(action="ignore"), open_picture(BytesIO(data), path) as image:
            details.format, details.mode, details.bits = image.format, image.mode, bits_of(image)
            details.width, details.height = image.size
            _check_mode(image.mode, path, details)
            _check_structure(data, path, image.format)
            image = upright(image)
            details.width, details.height = image.size
            return _pixels(image, path, details)
    except PictureError:
        raise
    except Exception as error:  # a damaged file can make a decoder raise anything
        what = f"cannot be decoded ({type(error).__name__}: {reason(error)})"
        raise PictureError.of(path, "corrupt", what) from None


def _read_file(path: Path, details: FileDetails) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe could block forever
            raise PictureError.of(path, "not a file", "is a folder, pipe or device, not a file")
        details.file_bytes = status.st_size
        if not status.st_size:
            raise PictureError.of(path, "empty", "is empty")
        if status.st_size > MOST_FILE_BYTES:
            what = (
                f"has {status.st_size / 1024**2:,.0f} MiB; at most "
                f"{MOST_FILE_BYTES // 1024**2} MiB are read"
            )
            raise PictureError.of(path, "too large", what)
        data = path.read_bytes()
    except PictureError:
        raise
    except FileNotFoundError:
        raise PictureError.of(path, "missing", "does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the file name
        raise PictureError.of(path, "unreadable", f"cannot be read ({reason(error)})") from None
    details.sha256 = hashlib.sha256(data).hexdigest()
    return data


def _check_mode(mode: str, path: Path, details: FileDetails) -> None:
    what = None
    if details.bits != 8:
        what = f"has {details.bits} bits per channel (mode {mode}); slices must have 8"
    elif mode not in GREY_MODES:
        what = f"has mode {mode}; slices must be grey"
    if what:
        details.note = PictureError.of(path, "wrong mode", what)


def _check_structure(data: bytes, path: Path, image_format: str | None) -> None:
    """Reject files with damage that Pillow tolerates."""
    if image_format == "PNG":
        _check_png(data, path)
    # the markers for end of image and start of scan cannot occur within coded data
    elif image_format == "JPEG" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise PictureError.of(path, "truncated", "is a JPEG without its end marker")


def _check_png(data: bytes, path: Path) -> None:
    """Check the checksum of each chunk, and that the last chunk is complete."""
    place = 8
    while place < len(data):
        if place + 12 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise PictureError.of(path, "corrupt", f"has a wrong checksum in PNG chunk {name!r}")
        if name == b"IEND":
            return
        place = end + 4
    raise PictureError.of(path, "truncated", "is a PNG without its end chunk")


def _pixels(image: Image.Image, path: Path, details: FileDetails) -> np.ndarray:
    if image.mode in ("L", *DEEP_MODES):
        return np.asarray(image)
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    colours = np.asarray(image.convert("RGB"))
    red, green, blue = (colours[..., channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    spread = colour_spread(colours)
    if spread >= MOST_COLOUR:
        what = f"is in colour: its channels differ by up to {spread}"
        details.note = PictureError.of(path, "wrong mode", what)
    return colours
