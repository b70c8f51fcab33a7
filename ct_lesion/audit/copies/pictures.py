"""Thumbnails of copies, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..images.checks import SeenSlice
from .findings import PatientPair
from .orientations import ORIENTATIONS

MOST_PICTURES = 12
SIDE, QUALITY = 160, 70


@dataclass(frozen=True)
class PairPicture:
    """Two images that look alike.

    Attributes:
        a, b: data URIs of JPEGs.
        names: of the slices, with their inputs.
        text: kind of copy, orientation and similarity.
    """

    a: str
    b: str
    names: tuple[str, str]
    text: str


def draw_pairs(pairs: Sequence[PatientPair], seen: Sequence[SeenSlice]) -> list[PairPicture]:
    """Draw the first copy of each pair of patients, then the second, up to MOST_PICTURES."""
    chosen = [
        pair.copies[number]
        for number in range(MOST_PICTURES)
        for pair in pairs
        if number < len(pair.copies)
    ][:MOST_PICTURES]
    pictures = []
    for copy in chosen:
        a, b = seen[copy.i], seen[copy.j]
        similarity = "" if copy.similarity == 1 else f", similarity {copy.similarity:.3f}"
        turned = "" if copy.orientation == ORIENTATIONS[0] else f", {copy.orientation}"
        pictures.append(
            PairPicture(
                _thumbnail(a.picture),
                _thumbnail(b.picture),
                names=(f"{a.of.name}: {a.slice.key}", f"{b.of.name}: {b.slice.key}"),
                text=f"{copy.kind}{turned}{similarity}",
            )
        )
    return pictures


def _thumbnail(path: Path) -> str:
    """Data URI of an image that the search has decoded before."""
    jpeg = io.BytesIO()
    with Image.open(path) as image:
        image.draft("L", (SIDE, SIDE))
        small = image.convert("L")
        small.thumbnail((SIDE, SIDE))
        small.save(jpeg, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
