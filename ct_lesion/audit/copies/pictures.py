"""Draws thumbnails of copies for the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..images.checks import SliceImage
from .findings import PatientPair
from .orientations import ORIENTATIONS

MOST_PICTURES = 12
SIDE, QUALITY = 160, 70  # of a thumbnail: pixels, JPEG quality


@dataclass(frozen=True)
class PairPicture:
    """Two images that look alike.

    Attributes:
        a, b: JPEGs as data URIs.
        names: input and key of each slice.
        text: kind of copy, orientation and similarity.
    """

    a: str
    b: str
    names: tuple[str, str]
    text: str


def draw_pairs(pairs: Sequence[PatientPair], images: Sequence[SliceImage]) -> list[PairPicture]:
    """Draw the first copy of each pair of patients, then the second, up to MOST_PICTURES."""
    chosen = [
        pair.copies[number]
        for number in range(MOST_PICTURES)
        for pair in pairs
        if number < len(pair.copies)
    ][:MOST_PICTURES]
    pictures = []
    for copy in chosen:
        a, b = images[copy.i], images[copy.j]
        similarity = "" if copy.similarity == 1 else f", similarity {copy.similarity:.3f}"
        turned = "" if copy.orientation == ORIENTATIONS[0] else f", {copy.orientation}"
        pictures.append(
            PairPicture(
                _thumbnail(a.path),
                _thumbnail(b.path),
                names=(f"{a.dataset.name}: {a.slice.key}", f"{b.dataset.name}: {b.slice.key}"),
                text=f"{copy.kind}{turned}{similarity}",
            )
        )
    return pictures


def _thumbnail(path: Path) -> str:
    """Make a data URI from an image file that was decoded before without error."""
    jpeg = io.BytesIO()
    with Image.open(path) as image:
        image.draft("L", (SIDE, SIDE))
        small = image.convert("L")
        small.thumbnail((SIDE, SIDE))
        small.save(jpeg, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
