"""Decoding an image file that may be anything: strictly, without running or trusting it."""

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
from PIL import Image, UnidentifiedImageError

from ct_lesion.errors import reason
from ct_lesion.pictures import LARGEST_PICTURE, PICTURE_FORMATS

MOST_FILE_BYTES = 256 * 1024**2
MOST_JPEG_SCANS = 100  # a progressive JPEG has about ten; each costs a pass over all pixels
GREY_MODES = ("L", "LA", "P", "PA", "RGB", "RGBA")
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
MOST_COLOUR = 16
"""Channels of a grey JPEG saved in colour differ by less than this."""


class ImageProblem(Exception):
    """What is wrong with an image file."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass
class Header:
    """What is known of a file so far; filled in as reading goes on, so that a problem keeps it."""

    file_bytes: int | None = None
    sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    bits: int | None = None
    width: int | None = None
    height: int | None = None
    note: ImageProblem | None = None  # on what can be decoded all the same


def decode(path: Path, header: Header) -> np.ndarray:
    """Pixels of the first page of an image file.

    Args:
        path: any file.
        header: is filled in.

    Returns:
        ``(H, W)``, or ``(H, W, 3)`` for a colour picture; uint8, or what a deeper one holds.

    Raises:
        ImageProblem: it cannot be decoded, or only in part.
    """
    data = _read_file(path, header)
    try:
        with warnings.catch_warnings():
            # Pillow warns of sizes, which are checked here, and of odd tags, which do not matter
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data), formats=PICTURE_FORMATS) as image:
                _read_header(image, header)
                _check_structure(data, image.format)
                image.load()
                return _pixels(image, header)
    except ImageProblem:
        raise
    except UnidentifiedImageError:
        raise ImageProblem("not an image", "not an image of a known format") from None
    except Image.DecompressionBombError as error:
        raise ImageProblem("too large", reason(error)) from None
    except MemoryError:
        raise ImageProblem("too large", "does not fit in memory") from None
    # Decoders raise whatever a damaged file leads them to; all of it means the same.
    except Exception as error:
        kind = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise ImageProblem(kind, f"{type(error).__name__}: {reason(error)}") from None


def _read_file(path: Path, header: Header) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
            raise ImageProblem("not a file", "a folder or another thing that is no file")
        header.file_bytes = status.st_size
        if not status.st_size:
            raise ImageProblem("empty", "an empty file")
        if status.st_size > MOST_FILE_BYTES:
            raise ImageProblem("too large", f"a file of {status.st_size / 1024**2:,.0f} MiB")
        data = path.read_bytes()
    except FileNotFoundError:
        raise ImageProblem("missing", "does not exist") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise ImageProblem("unreadable", reason(error)) from None
    header.sha256 = hashlib.sha256(data).hexdigest()
    return data


def _read_header(image: Image.Image, header: Header) -> None:
    """Take down format, mode and size before anything is decoded."""
    header.format, header.mode = image.format, image.mode
    header.width, header.height = image.size
    # Pillow cuts 16-bit colours to 8, and only the name of the raw data tells
    deep = "16" in str([tile[3] for tile in image.tile])
    known = {"1": 1, "I": 32, "F": 32}
    header.bits = 16 if deep or "16" in image.mode else known.get(image.mode, 8)
    if image.width * image.height > LARGEST_PICTURE:
        raise ImageProblem(
            "too large",
            f"{image.width} x {image.height} pixels, more than {LARGEST_PICTURE // 2**20} million",
        )
    if header.bits != 8:
        text = f"{header.bits} bits a pixel (mode {image.mode}); slices must have 8"
        header.note = ImageProblem("wrong mode", text)
    elif image.mode not in GREY_MODES:
        text = f"mode {image.mode}; slices must be grey"
        header.note = ImageProblem("wrong mode", text)


def _check_structure(data: bytes, image_format: str | None) -> None:
    """Find damage that Pillow passes over."""
    if image_format == "PNG":
        _check_png(data)
    elif image_format == "JPEG":
        # within coded data these two markers cannot occur
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise ImageProblem("truncated", "a JPEG without its end")
        scans = data.count(b"\xff\xda")
        if scans > MOST_JPEG_SCANS:
            raise ImageProblem("corrupt", f"a JPEG of {scans} scans")


def _check_png(data: bytes) -> None:
    """Walk all chunks to the last and compare their check sums."""
    place = 8
    while place < len(data):
        if place + 12 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 8 + length
        if end + 4 > len(data):
            break
        if zlib.crc32(memoryview(data)[place + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise ImageProblem("corrupt", f"check sum of chunk {name!r} does not fit")
        if name == b"IEND":
            return
        place = end + 4
    raise ImageProblem("truncated", "a PNG without its end")


def _pixels(image: Image.Image, header: Header) -> np.ndarray:
    if image.mode in ("L", *DEEP_MODES):
        return np.asarray(image)
    if image.mode in ("1", "LA"):
        return np.asarray(image.convert("L"))
    colour = np.asarray(image.convert("RGB"))
    red, green, blue = (colour[..., channel] for channel in range(3))
    if np.array_equal(red, green) and np.array_equal(red, blue):
        return np.ascontiguousarray(red)
    spread = int(np.ptp(colour, axis=2).max())
    if spread >= MOST_COLOUR:
        text = f"a colour picture: channels differ by up to {spread}"
        header.note = ImageProblem("wrong mode", text)
    return colour
