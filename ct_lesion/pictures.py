"""Which pictures are decoded at all: their formats, and how large they may say they are.

Decoding is where a damaged or hostile file costs something: a PNG of a few kilobytes can ask for
gigabytes. So the header is read first, and what no CT slice can be is refused.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from .errors import DatasetError, reason

LARGEST_PICTURE = 4096 * 4096
"""Pixels of the largest picture or DICOM slice that is decoded. The largest matrix of a CT scanner
is 2048 x 2048; this is four times that, and takes 50 MB as 8-bit RGB."""

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
"""Pillow's decoders that may be tried. Others are of no use here, and one of them (EPS) would run
another program."""

DAMAGE = (
    OSError,
    SyntaxError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
    MemoryError,
)
"""What Pillow raises on damaged bytes, depending on which byte it is."""


def check_picture_size(path: str | Path, width: int, height: int) -> None:
    """Refuse a size that no CT slice has.

    Args:
        path: for the message.
        width, height: in pixels, as the header says.

    Raises:
        DatasetError: a side is 0, or there are more than :data:`LARGEST_PICTURE` pixels.
    """
    if width <= 0 or height <= 0:
        raise DatasetError(f"{path}: is damaged, its header says {width} x {height} pixels.")
    if width * height > LARGEST_PICTURE:
        raise DatasetError(
            f"{path}: says that it has {width} x {height} pixels, which no CT slice has (at most "
            f"{LARGEST_PICTURE // 2**20} million are read): leave it out, or resize it."
        )


@contextmanager
def open_picture(source: str | Path | BinaryIO, name: str | Path = "") -> Iterator[Image.Image]:
    """Open a picture for decoding; only its header has been read.

    Args:
        source: a path or the bytes of a file.
        name: for messages, where ``source`` is no path.

    Raises:
        DatasetError: another format than :data:`PICTURE_FORMATS`, damaged, or too large. Also what
            Pillow raises when the picture is decoded within the block.
    """
    name = name or source
    try:
        with Image.open(source, formats=PICTURE_FORMATS) as image:
            check_picture_size(name, *image.size)
            yield image
    except DatasetError:
        raise
    except UnidentifiedImageError:
        raise DatasetError(
            f"{name}: not a picture (PNG, JPEG, TIFF or BMP), or a damaged one."
        ) from None
    except Image.DecompressionBombError:
        raise DatasetError(
            f"{name}: says that it has more pixels than any CT slice (at most "
            f"{LARGEST_PICTURE // 2**20} million are read): leave it out, or resize it."
        ) from None
    except DAMAGE as error:
        raise DatasetError(f"{name}: cannot be read as a picture ({reason(error)}).") from None
