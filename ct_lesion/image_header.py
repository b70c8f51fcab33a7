"""What an image file says about itself, looked at before anything decodes it."""

import struct
from pathlib import Path
from typing import NamedTuple

from .errors import DatasetError
from .pictures import check_picture_size, open_picture

PNG_START = b"\x89PNG\r\n\x1a\n"


class ImageHeader(NamedTuple):
    """What an image file says about itself: width and height in pixels, bits a channel."""

    width: int
    height: int
    bits: int


def read_image_header(path: str | Path) -> ImageHeader:
    """Read an image's size and depth without decoding it.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: it is empty or no image, or says that it is larger than any CT slice.
    """
    try:
        with Path(path).open("rb") as file:
            # A PNG's first 25 bytes say it all. Pillow hides the depth of 16-bit colour PNGs, and
            # would parse every chunk before the pixels.
            start = file.read(25)
            if start.startswith(PNG_START) and len(start) == 25:
                header = ImageHeader(*struct.unpack(">IIB", start[16:]))
                check_picture_size(path, header.width, header.height)
                return header
            if not start:
                raise DatasetError(f"{path}: is empty.")
            with open_picture(file, path) as image:
                wide = image.mode.startswith("I;16") or image.mode in ("I", "F")
                return ImageHeader(*image.size, 16 if wide else 8)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DatasetError(f"{path}: is not a readable image ({error}).") from None


def check_8_bit(path: str | Path) -> None:
    """Look at an image's header before Detectron2 decodes it.

    Raises:
        FileNotFoundError, DatasetError: see :func:`read_image_header`; or it has 16 bits.
    """
    if read_image_header(path).bits > 8:
        # Detectron2's reader would saturate every pixel above 255 without a word
        raise DatasetError(
            f"{path}: is a 16-bit image. Turn it into 8 bits with a CT window first "
            "(ct_lesion.scans.windows.window_to_uint8)."
        )
