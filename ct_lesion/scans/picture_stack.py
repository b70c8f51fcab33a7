"""Reading a scan from pictures: PNG, JPG or TIFF, one file per slice or the pages of one TIFF.

8-bit pictures count as already windowed. Pictures do not record the meaning of deeper values, so
these are only read if the user declares it (``--hu`` or a window).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import (
    DEEP_MODES,
    GREY_MODES,
    MOST_COLOUR,
    bits_of,
    check_picture_size,
    colour_spread,
    header_of,
    open_picture,
    upright,
)

from .geometry import Geometry
from .names import natural_key, unique_names
from .quality import check_offset, sample_indices, sampled_range
from .scan import (
    GREY_NOTE,
    HU_OFFSET_NOTE,
    NO_GEOMETRY_NOTE,
    HUSlices,
    ReadOptions,
    Scan,
    check_grey_range,
    check_hu_range,
)
from .volumes.headers import check_voxels
from .volumes.nifti_checks import NOT_FINITE
from .windows import Window

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_TIFF = (".tif", ".tiff")
_MASK_WORDS = "(?:lung|lesion)?_?(?:masks?|labels?|seg|segmentation|annotations?|gt|overlay)"
_MASK_NAME = re.compile(rf"(?:(.+?)[ ._-]+{_MASK_WORDS}|{_MASK_WORDS}[ ._-]+(.+))")


@dataclass(frozen=True)
class Page:
    """A slice: a file, and the index of the page in it."""

    path: Path
    number: int = 0


def is_picture_file(path: Path) -> bool:
    """Whether a file has the extension of a picture."""
    return path.suffix.lower() in PICTURE_ENDINGS


def is_stack(path: Path) -> bool:
    """Whether a file is a TIFF with several pages, which is a separate scan."""
    if path.suffix.lower() not in _TIFF:
        return False
    try:
        with open_picture(path) as image:
            return image.n_frames > 1
    except DatasetError:
        return False  # the error is reported when the file is opened as a slice


def _masks_among(files: Iterable[Path]) -> list[Path]:
    """The pictures that are named as masks of other ones, e.g. ``0_mask.png`` of ``0.png``."""
    stems = {path.stem.lower() for path in files}
    matches = ((path, _MASK_NAME.fullmatch(path.stem.lower())) for path in files)
    return [path for path, match in matches if match and (match[1] or match[2]) in stems]


def open_pictures(name: str, files: tuple[Path, ...], options: ReadOptions) -> Scan:
    """Open pictures as the slices of a scan, in the natural order of their names.

    Masks beside the slices are left out, with a note.

    Raises:
        DatasetError: a picture is unreadable or coloured, sizes or bit depths differ, pictures have
            more than 8 bits without ``hu_offset`` or window, or the values cannot be HU.
    """
    masks = _masks_among(files)
    slices = sorted({*files}.difference(masks), key=lambda path: natural_key(path.name))
    pages, size, deep = _survey(slices)
    place = files[0] if len(files) == 1 else files[0].parent
    check_voxels(place, (len(pages), size[1], size[0]), "its pictures are")
    stored = PictureSlices(pages)
    low, high = sampled_range(stored, len(pages))
    notes, window, is_hu, read = [], options.window, False, stored
    if masks:
        notes.append(f"left out {len(masks)} pictures named as masks, e.g. {masks[0].name}")
    if not deep:
        check_grey_range(place, high)
        notes.append(GREY_NOTE)
        window = None
        if options.hu_offset is not None or options.window is not None:
            notes.append("--hu and the window do not apply to 8-bit pictures")
    elif options.hu_offset is not None:
        is_hu = True
        offset = options.hu_offset
        advice = f"--hu {offset:g} does not fit: give the stored value of 0 HU."
        check_hu_range(place, low - offset, high - offset, advice)
        if offset:
            check_offset(place, [stored(z) for z in sample_indices(len(pages))], offset)
        read = HUSlices(stored, offset)
        notes.append(HU_OFFSET_NOTE.format(offset=offset))
    elif options.window is not None:
        read = WindowedSlices(stored, options.window)
        notes.append(f"stored values converted with the given window {options.window.label}")
    else:
        raise DatasetError(
            f"{place}: the pictures have more than 8 bits (values from {low:g} to {high:g}). Give "
            "--hu OFFSET if the values are HU plus an offset (e.g. 0 or 1024), or a window with "
            "--window-level and --window-width."
        )
    return Scan(
        name=name,
        kind="pictures",
        files=files,
        geometry=Geometry.without_position((len(pages), size[1], size[0])),
        is_hu=is_hu,
        window=window,
        read_slice=read,
        slice_names=unique_names(
            f"{page.path.stem}-{page.number:04d}" if len(pages) > len(slices) else page.path.stem
            for page in pages
        ),
        notes=[*notes, NO_GEOMETRY_NOTE],
    )


class PictureSlices:
    """Slices ``(H, W)`` as stored: uint8, or the deeper type of the files."""

    def __init__(self, pages: list[Page]) -> None:
        self._pages = pages

    def __call__(self, index: int) -> np.ndarray:
        page = self._pages[index]
        with open_picture(page.path, page=page.number) as image:
            image = upright(image)
            pixels = np.asarray(image if image.mode in DEEP_MODES else _grey(image, page.path))
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise DatasetError(NOT_FINITE.format(path=page.path))
        return pixels


class WindowedSlices:
    """Slices of stored values converted with a window, ``(H, W)`` uint8."""

    def __init__(self, read: PictureSlices, window: Window) -> None:
        self._read, self._window = read, window

    def __call__(self, index: int) -> np.ndarray:
        return self._window.grey(self._read(index))


def _survey(files: list[Path]) -> tuple[list[Page], tuple[int, int], bool]:
    """Find all slices, their common width and height, and whether they have more than 8 bits.

    Raises:
        DatasetError: a picture is unreadable or not grey, or sizes or bit depths differ.
    """
    pages: list[Page] = []
    kinds: dict[tuple[tuple[int, int], bool], Page] = {}
    for path in files:
        with open_picture(path) as image:
            for number in range(getattr(image, "n_frames", 1)):
                image.seek(number)
                check_picture_size(path, *image.size)  # the pages of a TIFF differ in size
                _check_mode(image, path)
                header, page = header_of(image), Page(path, number)
                pages.append(page)
                kinds.setdefault(((header.width, header.height), header.bits > 8), page)
    if len(kinds) > 1:
        (size, deep), (other_size, other_deep) = list(kinds)[:2]
        first, other = list(kinds.values())[:2]
        what = "size" if size != other_size else "bit depth"
        of_first, of_other = (
            f"{s[0]} x {s[1]} pixels of {'more than 8' if d else 8} bits"
            for s, d in ((size, deep), (other_size, other_deep))
        )
        raise DatasetError(
            f"{other.path} has {of_other}, but {first.path.name} has {of_first}. All slices of a "
            f"scan must have the same {what}: put each scan into a separate folder."
        )
    ((size, deep),) = kinds
    return pages, size, deep


def _check_mode(image: Image.Image, path: Path) -> None:
    if image.mode in DEEP_MODES:
        return
    if image.mode not in GREY_MODES:
        raise DatasetError(f"{path} is a picture of mode {image.mode}. Give grey slices.")
    if bits_of(image) > 8:  # Pillow would silently reduce them to 8
        raise DatasetError(f"{path} is a picture with 16-bit colours. Give grey slices.")


def _grey(image: Image.Image, path: Path) -> Image.Image:
    if image.mode in ("P", "PA", "RGB", "RGBA"):
        image = image.convert("RGB")
        spread = colour_spread(np.asarray(image))
        if spread >= MOST_COLOUR:
            raise DatasetError(
                f"{path} is a colour picture (channels differ by up to {spread}). Give grey slices."
            )
    return image.convert("L")
