"""Reads CNCB's lesion archive: ``image/<patient>/<slice>.jpg``, ``mask/<patient>/<slice>.png``.

The archive is a zip file or the unpacked folder. Images and masks are paired by patient and slice,
never by order, and all faults are reported together.
"""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ct_lesion.errors import DatasetError, reason
from ct_lesion.folders import walk_folder
from ct_lesion.pictures import LARGEST_PICTURE, WINDOW_FIRST, read_8_bit
from ct_lesion.zip_files import BAD_ZIP, open_zip

from ..datasets.lesion_masks import LABELS
from ..datasets.splits import SliceId

# .../image/<patient>/<slice>.<ext>; names that start with a dot are excluded
_MEMBER = re.compile(r"(?:^|/)(image|mask)/([^/.][^/]*)/([^/.][^/]*)\.(jpe?g|png)$", re.IGNORECASE)
_MODES_8_BIT = ("L", "P", "RGB", "RGBA", "1")
SOURCE_ADVICE = "Give ct_lesion_seg.zip, or the folder that contains image/ and mask/."
LARGEST_FILE = 4 * LARGEST_PICTURE
"""Largest size of a picture file in bytes; above that of the largest uncompressed picture."""


@dataclass(frozen=True)
class ArchiveSlice:
    """Names of an image and its mask in the archive."""

    id: SliceId
    image: str
    mask: str


class Archive:
    """Reads the files of a folder or a zip by name."""

    def __init__(self, path: str | Path) -> None:
        """
        Raises:
            DatasetError: the file or folder does not exist, or the file is not a zip.
        """
        self.path = Path(path)
        self._zip = None
        if self.path.is_file():
            self._zip = open_zip(self.path)
        elif not self.path.is_dir():
            raise DatasetError(f"{path} does not exist. {SOURCE_ADVICE}")

    def names(self) -> list[str]:
        """Paths of all files, relative to the archive."""
        if self._zip:
            return self._zip.namelist()
        return [
            (folder / name).relative_to(self.path).as_posix()
            for folder, names in walk_folder(self.path)
            for name in names
        ]

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            DatasetError: the file cannot be unpacked or read, or is larger than any slice can be.
        """
        if not self._zip and (self.path / name).exists() and not (self.path / name).is_file():
            raise DatasetError(f"{name} is a pipe or a device, not a file")  # may never end
        try:
            size = self._size(name)
            data = self._read(name) if size <= LARGEST_FILE else b""
        except BAD_ZIP as error:
            raise DatasetError(f"{name} cannot be read ({reason(error)})") from None
        if size > LARGEST_FILE:
            raise DatasetError(
                f"{name} has {size:,} bytes, more than any slice has (at most {LARGEST_FILE:,})"
            )
        return data

    def _size(self, name: str) -> int:
        return self._zip.getinfo(name).file_size if self._zip else (self.path / name).stat().st_size

    def _read(self, name: str) -> bytes:
        return self._zip.read(name) if self._zip else (self.path / name).read_bytes()


def pair_slices(archive: Archive) -> tuple[list[ArchiveSlice], list[str]]:
    """Find images and masks and pair them by patient and slice.

    Returns:
        The sorted pairs, and a line for each file that has no partner or more than one.

    Raises:
        DatasetError: the archive contains no slices.
    """
    found: dict[str, dict[SliceId, str]] = {"image": {}, "mask": {}}
    problems = []
    for name in sorted(archive.names()):
        match = _MEMBER.search(name)
        if not match or "__MACOSX" in name:
            continue
        kind, slice_id = match[1].lower(), SliceId(match[2], match[3])
        if slice_id in found[kind]:
            problems.append(
                f"{name} is a second {kind} of this slice, beside {found[kind][slice_id]}"
            )
        else:
            found[kind][slice_id] = name
    images, masks = found["image"], found["mask"]
    if not images and not masks:
        raise DatasetError(
            f"{archive.path} holds no file image/<patient>/<slice>.jpg or "
            f"mask/<patient>/<slice>.png. {SOURCE_ADVICE}"
        )
    problems += [f"{images[i]} has no mask" for i in sorted(images.keys() - masks.keys())]
    problems += [f"{masks[i]} has no image" for i in sorted(masks.keys() - images.keys())]
    pairs = [ArchiveSlice(i, images[i], masks[i]) for i in sorted(images.keys() & masks.keys())]
    return pairs, problems


def read_labels(archive: Archive, pair: ArchiveSlice) -> np.ndarray:
    """Read and check the label mask of a slice and its image.

    Returns:
        ``(H, W)`` uint8 with values 0..3.

    Raises:
        DatasetError: a file is empty, unreadable or of 16 bits, the sizes differ, or the mask has
            other values.
    """
    image = _decode(archive, pair.image)
    mask = _decode(archive, pair.mask, "save it with 8 bits")
    if image.size != mask.size:
        raise DatasetError(
            f"{pair.mask} has {_size(mask)} pixels, but its image {pair.image} has {_size(image)}"
        )
    labels = np.asarray(mask)
    if labels.ndim == 3:
        colours = labels[..., :3]
        if (colours != colours[..., :1]).any():
            raise DatasetError(f"{pair.mask} is a colour image, expected one channel with 0..3")
        labels = colours[..., 0]
    labels = labels.astype(np.uint8)
    unknown = np.setdiff1d(labels, LABELS)
    if unknown.size:
        values = _first_five(unknown)
        raise DatasetError(f"{pair.mask} has the values {values}, expected only 0, 1, 2, 3")
    return labels


def _decode(archive: Archive, name: str, advice: str = WINDOW_FIRST) -> Image.Image:
    image = read_8_bit(io.BytesIO(archive.read(name)), name, advice)
    if image.mode == "LA":  # transparency is ignored
        return image.convert("L")
    if image.mode not in _MODES_8_BIT:
        raise DatasetError(f"{name} is a picture of mode {image.mode}; save it as 8-bit grey")
    return image


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"


def _first_five(values: Sequence[int]) -> str:
    return ", ".join(str(v) for v in values[:5]) + (", ..." if len(values) > 5 else "")


def read_all_labels(
    archive: Archive, pairs: Iterable[ArchiveSlice]
) -> Iterator[tuple[ArchiveSlice, np.ndarray | DatasetError]]:
    """Yield each slice with its labels or its error, so that the caller can report all errors."""
    for pair in pairs:
        try:
            yield pair, read_labels(archive, pair)
        except DatasetError as error:
            yield pair, error
