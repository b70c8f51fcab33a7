"""What an audit knows about an image file, read in one pass, whatever the file holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ct_lesion.pictures import PictureError

from .decoding import FileDetails, decode_strictly
from .fingerprint import make_fingerprint
from .workers import map_chunks

PROBLEMS = (
    *("missing", "not a file", "unreadable", "empty", "not an image", "too large"),
    *("truncated", "corrupt", "wrong mode", "constant"),
)
"""Kinds of problems; images of the last two were decoded, all others were not."""
EVEN = 2
"""Grey values of a border differ by no more than this; JPEG makes that much."""
FEW = 512  # files that are read before a second process has started
CHUNK = 64  # files that a process reads at a time
MOST_WORKERS = 16  # each holds the libraries in its memory


@dataclass(frozen=True)
class Border:
    """Numbers about an image that say nothing of what it shows: for a shortcut probe.

    Attributes:
        top, bottom, left, right: share of the height or width, 0..1, that is a band of one single
            value along this edge.
        corners: mean of the four corner patches (a sixteenth of each side), as a share of the
            range of values, 0..1.
        mean, std: of the whole image, as a share of the range of values, 0..1.
    """

    top: float
    bottom: float
    left: float
    right: float
    corners: float
    mean: float
    std: float


@dataclass(frozen=True)
class ImageFacts:
    """What is known about an image file. Fields after ``problem_kind`` are ``None`` if not known.

    Attributes:
        path: as it was given.
        problem: one line, without the path: what is wrong and with what numbers; ``None`` if sound.
        problem_kind: one of :data:`PROBLEMS`, or ``None``.
        file_bytes: size of the file.
        sha256: of the file's bytes, hexadecimal.
        pixels_sha256: of the decoded pixels with their size and type; a grey image saved in colour
            has the sum of the grey one. Equal in lossless copies, whatever the format.
        format: ``PNG``, ``JPEG``, ``TIFF``, ...
        mode: Pillow's, e.g. ``L`` or ``RGB``.
        bits: of a channel.
        width, height: pixels, of the upright picture (after its EXIF orientation).
        border: for a shortcut probe.
        fingerprint: ``(N,)`` uint8, for :func:`ct_lesion.audit.copies.search.find_copies`; ``None``
            also where an image has too little in it to be told from others.
    """

    path: Path
    problem: str | None = None
    problem_kind: str | None = None
    file_bytes: int | None = None
    sha256: str | None = None
    pixels_sha256: str | None = None
    format: str | None = None
    mode: str | None = None
    bits: int | None = None
    width: int | None = None
    height: int | None = None
    border: Border | None = None
    fingerprint: np.ndarray | None = None


def read_image_facts(path: str | Path) -> ImageFacts:
    """Read all facts of one image file; never raises for what the file holds.

    Args:
        path: a PNG, JPEG, TIFF or BMP file; the first page of several. Of JPEG,
            damage within the coded data that leaves a picture is not seen: the format has no check
            sum.
    """
    details = FileDetails()
    try:
        pixels = decode_strictly(Path(path), details)
        facts = facts_of_pixels(pixels, path)
    except PictureError as problem:
        facts = ImageFacts(Path(path), problem.what, problem.kind)
    if details.note and not facts.problem:
        facts = replace(facts, problem=details.note.what, problem_kind=details.note.kind)
    return replace(
        facts,
        file_bytes=details.file_bytes,
        sha256=details.sha256,
        format=details.format,
        mode=details.mode,
        bits=details.bits,
        width=details.width,
        height=details.height,
    )


def facts_of_pixels(pixels: np.ndarray, path: str | Path) -> ImageFacts:
    """What can be told from the pixels alone.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)``, any real type.
        path: of the image, or another name for it.

    Raises:
        PictureError: values that are not finite.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise PictureError(path, "corrupt", "holds NaN or infinite values")
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if grey.dtype != np.uint8:
        low, high = float(grey.min()), float(grey.max())
        scale = 255 / (high - low) if high > low else 0.0
        grey = np.rint((grey.astype(np.float64) - low) * scale).astype(np.uint8)
    constant = bool((pixels == pixels.flat[0]).all())
    return ImageFacts(
        Path(path),
        problem=f"constant: all pixels are {pixels.flat[0]:g}" if constant else None,
        problem_kind="constant" if constant else None,
        pixels_sha256=_hash_pixels(pixels),
        border=_border(grey),
        fingerprint=make_fingerprint(grey),
    )


def _hash_pixels(pixels: np.ndarray) -> str:
    digest = hashlib.sha256(f"{pixels.shape} {pixels.dtype.str}".encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.hexdigest()


def _border(grey: np.ndarray) -> Border:
    rows, columns = _even_lines(grey), _even_lines(grey.T)
    height, width = grey.shape
    y, x = max(height // 16, 1), max(width // 16, 1)
    corners = (grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:])
    mean, std = cv2.meanStdDev(grey)
    return Border(
        top=rows[0] / height,
        bottom=rows[1] / height,
        left=columns[0] / width,
        right=columns[1] / width,
        corners=float(np.mean([c.mean() for c in corners])) / 255,
        mean=float(mean[0, 0]) / 255,
        std=float(std[0, 0]) / 255,
    )


def _even_lines(grey: np.ndarray) -> tuple[int, int]:
    """How many lines at either end hold one value, the same in all of them."""
    low, high = grey.min(axis=1).astype(int), grey.max(axis=1).astype(int)
    counts = []
    for lowest, highest in ((low, high), (low[::-1], high[::-1])):
        differ = np.abs(lowest - lowest[0]) > EVEN
        differ |= np.abs(highest - lowest[0]) > EVEN
        counts.append(int(differ.argmax()) if differ.any() else len(grey))
    return counts[0], counts[1]


def read_all_image_facts(
    paths: Sequence[str | Path],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[ImageFacts]:
    """Facts of many files, in their order; a file that is named twice is read once.

    Args:
        paths: image files.
        workers: processes; by default one a core, at most 16, and none beside this one for a few
            files. 1 reads in this process.
        progress: called with the number of files done, now and then, in place of the progress line
            on stderr.
    """
    names = [str(Path(path)) for path in paths]
    unique = list(dict.fromkeys(names))
    if workers is None:
        workers = 1 if len(unique) < FEW else min(os.cpu_count() or 1, MOST_WORKERS)
    chunks = [unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK)]
    done: dict[str, ImageFacts] = {}
    bar = tqdm(
        total=len(unique),
        desc="reading images",
        unit="image",
        disable=True if progress else None,
    )
    with bar:
        for facts in map_chunks(read_image_facts, chunks, workers, _crashed):
            done.update((str(f.path), f) for f in facts)
            bar.update(len(facts))
            if progress:
                progress(len(done))
    return [done[name] for name in names]


def _crashed(path: str) -> ImageFacts:
    return ImageFacts(Path(path), "ends the process that reads it", "corrupt")
