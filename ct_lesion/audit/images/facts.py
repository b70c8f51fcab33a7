"""Reads facts about image files in one pass; damaged files are reported, not raised."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ct_lesion.pictures import PictureError

from .decoding import FileDetails, decode_strictly
from .fingerprint import make_fingerprint
from .workers import map_chunks

BORDER_TOLERANCE = 2
"""Largest difference of grey values within a border, which JPEG compression may cause."""
FEW_FILES = 512  # fewer files are read in this process: starting others takes longer
CHUNK = 64  # files that are sent to a process at a time
MOST_WORKERS = 16  # each loads the libraries into memory


@dataclass(frozen=True)
class Border:
    """The border of an image, which shows no anatomy; features for the shortcut probe.

    Attributes:
        top, bottom, left, right: width of the constant band along this edge, as a share of the
            height or width, 0..1.
        corners: mean grey value of the four corner patches (a sixteenth of each side), 0..1.
    """

    top: float
    bottom: float
    left: float
    right: float
    corners: float


@dataclass(frozen=True)
class ImageFacts:
    """Facts about an image file. Fields after ``problem_kind`` are ``None`` if unknown.

    Attributes:
        path: path of the file.
        problem: what is wrong, in one line without the path; ``None`` if the image is sound.
        problem_kind: ``missing``, ``not a file``, ``unreadable``, ``empty``, ``not an image``,
            ``too large``, ``truncated``, ``corrupt``; or, if the image could be decoded,
            ``wrong mode`` or ``constant``.
        file_bytes: size of the file.
        sha256: SHA-256 of the file's bytes, hexadecimal.
        pixels_sha256: SHA-256 of the decoded pixels, shape and type; equal for lossless copies in
            any format, and for a grey image saved as RGB.
        format: ``PNG``, ``JPEG``, ``TIFF``, ...
        mode: Pillow's, e.g. ``L`` or ``RGB``.
        bits: per channel.
        width, height: size in pixels, after applying the EXIF orientation.
        border: for the shortcut probe.
        fingerprint: ``(LENGTH,)`` uint8, for the copy search; also ``None`` for images with too
            little detail.
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
    """Read all facts of one image file; never raises, whatever the file contains.

    JPEG has no checksum: damage that still decodes to a picture is not detected.

    Args:
        path: a PNG, JPEG, TIFF or BMP file; of a TIFF, the first page is read.
    """
    details = FileDetails()
    try:
        pixels = decode_strictly(Path(path), details)
        facts = facts_of_pixels(pixels, path)
    except PictureError as problem:
        facts = ImageFacts(Path(path), problem.what, problem.kind)
    file_facts = vars(details).copy()
    note = file_facts.pop("note")
    if note and not facts.problem:
        facts = replace(facts, problem=note.what, problem_kind=note.kind)
    return replace(facts, **file_facts)


def facts_of_pixels(pixels: np.ndarray, path: str | Path) -> ImageFacts:
    """Compute the facts that depend on the pixels only.

    Args:
        pixels: ``(H, W)`` or ``(H, W, 3)`` RGB, any real type.
        path: path of the image, or a name for it.

    Raises:
        PictureError: there are NaN or infinite values.
    """
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise PictureError.of(path, "corrupt", "contains NaN or infinite values")
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if grey.dtype != np.uint8:
        low, high = float(grey.min()), float(grey.max())
        scale = 255 / (high - low) if high > low else 0.0
        grey = np.rint((grey.astype(np.float64) - low) * scale).astype(np.uint8)
    constant = bool((pixels == pixels.flat[0]).all())
    return ImageFacts(
        Path(path),
        problem=f"is constant: all pixels are {pixels.flat[0]:g}" if constant else None,
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
    rows, columns = _constant_rows(grey), _constant_rows(grey.T)
    height, width = grey.shape
    y, x = max(height // 16, 1), max(width // 16, 1)
    corners = (grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:])
    return Border(
        top=rows[0] / height,
        bottom=rows[1] / height,
        left=columns[0] / width,
        right=columns[1] / width,
        corners=float(np.mean([c.mean() for c in corners])) / 255,
    )


def _constant_rows(grey: np.ndarray) -> tuple[int, int]:
    """Count the rows at the top and at the bottom that hold a single value."""
    low, high = grey.min(axis=1).astype(int), grey.max(axis=1).astype(int)
    counts = []
    for lowest, highest in ((low, high), (low[::-1], high[::-1])):
        differ = np.abs(lowest - lowest[0]) > BORDER_TOLERANCE
        differ |= np.abs(highest - lowest[0]) > BORDER_TOLERANCE
        counts.append(int(differ.argmax()) if differ.any() else len(grey))
    return counts[0], counts[1]


def read_all_image_facts(
    paths: Sequence[str | Path], workers: int | None = None
) -> list[ImageFacts]:
    """Read the facts of many files, with a progress bar; repeated paths are read once.

    Args:
        paths: image files.
        workers: number of processes; by default one per core, at most MOST_WORKERS, or for fewer
            than FEW_FILES files only this process.

    Returns:
        The facts of each path, in order.
    """
    names = [str(Path(path)) for path in paths]
    unique = list(dict.fromkeys(names))
    if workers is None:
        workers = 1 if len(unique) < FEW_FILES else min(os.cpu_count() or 1, MOST_WORKERS)
    chunks = [unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK)]
    done: dict[str, ImageFacts] = {}
    with tqdm(total=len(unique), desc="reading images", unit="image", disable=None) as bar:
        for facts in map_chunks(read_image_facts, chunks, workers, _crashed):
            done.update((str(f.path), f) for f in facts)
            bar.update(len(facts))
    return [done[name] for name in names]


def _crashed(path: str) -> ImageFacts:
    return ImageFacts(Path(path), "crashes the decoder", "corrupt")
