"""What an audit knows about an image file, read in one pass, whatever the file holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PROBLEMS = (
    *("missing", "not a file", "unreadable", "empty", "not an image", "too large"),
    *("truncated", "corrupt", "wrong mode", "constant"),
)
"""Kinds of problems; images of the last two were decoded, all others were not."""


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
        width, height: pixels.
        border: for a shortcut probe.
        fingerprint: ``(N,)`` uint8, for :func:`ct_lesion.audit.copy_search.find_copies`; ``None``
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
        path: a PNG, JPEG, TIFF, BMP, GIF, WebP or PNM file; the first page of several.
    """
    raise NotImplementedError


def read_all_image_facts(
    paths: Sequence[str | Path],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[ImageFacts]:
    """Facts of many files, in their order; a file that is named twice is read once.

    Args:
        paths: image files.
        workers: processes; by default as many as there are cores, and none beside this one for
            a few files.
        progress: called with the number of files done, now and then, in place of the progress line
            on stderr.
    """
    raise NotImplementedError
