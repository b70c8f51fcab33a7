"""Reading untrusted picture files (PNG, JPEG, TIFF, BMP), and writing slices.

All pictures are decoded here, and all slices are encoded here. A hostile PNG of a few kilobytes can
claim gigabytes, so the header is read first, and sizes that no CT slice has are refused. The EXIF
orientation is applied to images and masks alike, in training, preparation, prediction and audit; a
picture with its orientation applied is called "upright".
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from .errors import DatasetError, reason
from .files import write_new
from .folders import check_regular

LARGEST_PICTURE = 4096 * 4096
"""Pixels of the largest picture or DICOM slice that is decoded. The largest matrix of a CT scanner
is 2048 x 2048; this is four times that, and takes 50 MB as 8-bit RGB."""

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""The only decoders of Pillow that are tried; others are not needed, and EPS runs a program."""

MOST_JPEG_SCANS = 100
"""A progressive JPEG has about ten scans; each is a pass over all pixels."""
_LARGEST_JPEG = 4 * LARGEST_PICTURE

GREY_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")
"""Pillow's modes that can hold an 8-bit grey slice."""
DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's modes that hold more than 8 bits per pixel."""
MOST_COLOUR = 16
"""In a grey JPEG that was saved in colour, the channels differ by less than this."""

DAMAGE = (
    OSError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    MemoryError,
)
"""Exceptions that Pillow raises on damaged files."""

_TOO_LARGE = (
    f"but no CT slice has more than {LARGEST_PICTURE // 2**20} million: leave it out, or resize it"
)
WINDOW_FIRST = (
    "convert it to 8 bits with a CT window first (ct_lesion.scans.windows.window_to_uint8)"
)
_BITS_PER_SAMPLE = 258  # TIFF tag
_PNG_ORIENTATION = (b"Raw profile type exif", b"XML:com.adobe.xmp")  # keywords of text chunks
_TRANSPOSES = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""The transposition that makes a picture upright, by EXIF orientation."""


class PictureError(DatasetError):
    """A picture file that cannot be used.

    Attributes:
        kind: ``empty``, ``not an image``, ``too large``, ``truncated``, ``wrong mode``,
            ``animated`` or ``corrupt`` (the audit has more).
        what: the message after the file's name, e.g. "is empty".
    """

    kind = "corrupt"
    what = ""

    @classmethod
    def of(cls, name: str | Path, kind: str, what: str) -> PictureError:
        """Create the error for a file; the constructor itself takes one argument, for pickling."""
        error = cls(f"{name} {what}.")
        error.kind, error.what = kind, what
        return error


class ImageHeader(NamedTuple):
    """Width and height in pixels of the upright picture, bits per channel, EXIF orientation."""

    width: int
    height: int
    bits: int
    orientation: int = 1


def check_picture_size(path: str | Path, width: int, height: int) -> None:
    """Refuse a size that no CT slice has.

    Args:
        path: file named in error messages.
        width, height: size in pixels, from the file's header.

    Raises:
        PictureError: a side is 0, or there are more than :data:`LARGEST_PICTURE` pixels.
    """
    size = f"{width} x {height} pixels"
    if width <= 0 or height <= 0:
        raise PictureError.of(path, "corrupt", f"is damaged: its header says {size}")
    if width * height > LARGEST_PICTURE:
        raise PictureError.of(path, "too large", f"has {size}, {_TOO_LARGE}")


@contextmanager
def open_picture(
    source: str | Path | BinaryIO, name: str | Path = "", page: int = 0
) -> Iterator[Image.Image]:
    """Open a picture and check its size; its pixels are not decoded yet (see :func:`upright`).

    Args:
        source: a path, or the bytes of a file.
        name: name used in error messages, if ``source`` is not a path.
        page: index of the page of a TIFF.

    Raises:
        PictureError: the file is missing, empty, damaged, too large, or not one of
            :data:`PICTURE_FORMATS`. Pillow's errors inside the block become a PictureError too.
    """
    name = name or source
    try:
        is_path = isinstance(source, (str, Path))
        if is_path:
            check_regular(source)
        with Path(source).open("rb") if is_path else nullcontext(source) as file:
            if not file.read(1):
                raise PictureError.of(name, "empty", "is empty")
            file.seek(0)
            with Image.open(file, formats=PICTURE_FORMATS) as image:
                if page:
                    image.seek(page)
                check_picture_size(name, *image.size)
                if image.format == "JPEG":
                    _check_jpeg_scans(file, name)
                if image.format != "TIFF" and getattr(image, "n_frames", 1) > 1:
                    what = f"holds {image.n_frames} frames: save each as a separate picture"
                    raise PictureError.of(name, "animated", what)
                yield image
    except DatasetError:
        raise
    except UnidentifiedImageError:
        what = "is not a picture (PNG, JPEG, TIFF or BMP), or is damaged"
        raise PictureError.of(name, "not an image", what) from None
    except Image.DecompressionBombError:
        what = f"has many more pixels than that in its header, {_TOO_LARGE}"
        raise PictureError.of(name, "too large", what) from None
    except MemoryError:
        what = "does not fit in memory: leave it out, or resize it"
        raise PictureError.of(name, "too large", what) from None
    except DAMAGE as error:
        kind = "truncated" if "truncated" in str(error).lower() else "corrupt"
        why = getattr(error, "strerror", None) or reason(error)
        what = f"cannot be read as a picture ({why})"
        raise PictureError.of(name, kind, what) from None


def _check_jpeg_scans(file: BinaryIO, name: str | Path) -> None:
    """Refuse a JPEG that would take minutes to decode; the file's position is unchanged."""
    place = file.tell()
    file.seek(0)
    # this marker cannot occur in coded data
    scans = file.read(_LARGEST_JPEG).count(b"\xff\xda")
    if file.read(1):
        raise PictureError.of(name, "too large", f"is a JPEG of more than {_LARGEST_JPEG:,} bytes")
    if scans > MOST_JPEG_SCANS:
        raise PictureError.of(name, "corrupt", f"is a JPEG of {scans} scans: save it as PNG")
    file.seek(place)


def upright(image: Image.Image) -> Image.Image:
    """Decode the current page of an open picture and apply its EXIF orientation.

    An unreadable EXIF block counts as no orientation.
    """
    image.load()  # first: Pillow also decodes a PNG to find its EXIF, where errors are ignored
    transpose = _TRANSPOSES.get(_orientation(image))
    return image.transpose(transpose) if transpose is not None else image


def read_8_bit(
    source: str | Path | BinaryIO, name: str | Path = "", advice: str = WINDOW_FIRST
) -> Image.Image:
    """Decode a picture of at most 8 bits per channel, upright.

    Args:
        source, name: as for :func:`open_picture`.
        advice: the end of the message about a deeper picture.

    Raises:
        PictureError: the picture has more bits, or as for :func:`open_picture`.
    """
    with open_picture(source, name) as image:
        bits = bits_of(image)
        if bits > 8:  # Pillow would clip or truncate the values without a warning
            raise PictureError.of(name or source, "wrong mode", f"is a {bits}-bit image; {advice}")
        return upright(image)


def read_image_header(path: str | Path) -> ImageHeader:
    """Read the size and depth of a picture without decoding it.

    Raises:
        PictureError: see :func:`open_picture`.
    """
    with open_picture(path) as image:
        return header_of(image)


def header_of(image: Image.Image) -> ImageHeader:
    """Upright size and depth of the current page of a picture that is open but not decoded."""
    bits, (width, height) = bits_of(image), image.size
    # Pillow decodes a PNG to find its EXIF block, so look first whether there can be one
    may_be_turned = image.format != "PNG" or _png_may_be_turned(image.fp)
    orientation = _orientation(image) if may_be_turned else 1
    if orientation >= 5:
        width, height = height, width
    return ImageHeader(width, height, bits, orientation)


def bits_of(image: Image.Image) -> int:
    """Bits per channel of an open, undecoded picture: 1, 8 (also for 2 to 7), 16 or 32."""
    if image.format == "TIFF":
        bits = max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
        return bits if bits > 8 or image.mode == "1" else 8
    # Pillow reduces 16-bit colours of a PNG to 8 bits; only the raw mode shows it
    if image.mode.startswith("I;16") or _is_deep_png(image):
        return 16
    return {"1": 1, "I": 32, "F": 32}.get(image.mode, 8)


def write_picture(path: Path, pixels: np.ndarray, *options: int) -> None:
    """Write a new picture in the format of its extension, and create its folder.

    ``cv2.imwrite`` would return False for most failures and hide the system's error.

    Args:
        path: must not exist yet.
        pixels: (H, W) uint8 grey or (H, W, 3) uint8 RGB.
        options: parameters of ``cv2.imencode``.

    Raises:
        OSError: the file cannot be encoded or written, e.g. because the disk is full.
    """
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(path.suffix, pixels, options)
    if not done:
        raise OSError(f"{path} could not be encoded")
    write_new(path, data.tobytes())


def colour_spread(colours: np.ndarray) -> int:
    """Largest difference between the channels of a pixel; ``colours`` is ``(H, W, 3)`` uint8."""
    return int(np.ptp(colours, axis=2).max())


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8, that Pillow has not applied."""
    if image.format == "TIFF":  # Pillow applies it when it decodes, and swaps the size on opening
        return 1
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:
        return 1
    return value if value in _TRANSPOSES else 1


def _is_deep_png(image: Image.Image) -> bool:
    return image.format == "PNG" and any(";16" in str(tile[3]) for tile in image.tile)


def _png_may_be_turned(file: BinaryIO) -> bool:
    """Whether a PNG has a chunk that can hold an EXIF orientation; leaves the file's position."""
    place = file.tell()
    try:
        file.seek(8)
        while len(start := file.read(8 + len(_PNG_ORIENTATION[0]))) >= 8:
            length, name = struct.unpack_from(">I4s", start)
            if name == b"eXIf" or start[8:].startswith(_PNG_ORIENTATION):
                return True
            if name == b"IEND":
                return False
            file.seek(length + 12 - len(start), os.SEEK_CUR)
        return False
    finally:
        file.seek(place)
