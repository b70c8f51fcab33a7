"""Small pictures of copies, side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..images.checks import SeenSlice
from .findings import PatientPair

SIDE, QUALITY = 160, 70


@dataclass(frozen=True)
class PairPicture:
    """Two images that look alike.

    Attributes:
        a, b: data URIs of JPEGs.
        names: of the slices, with their inputs.
        text: what they have in common.
    """

    a: str
    b: str
    names: tuple[str, str]
    text: str


def draw_pairs(
    pairs: Sequence[PatientPair], seen: Sequence[SeenSlice], most: int
) -> list[PairPicture]:
    """Pictures of the first copy of each pair of patients, then of the second, and so on.

    Args:
        most: pictures in all.
    """
    rounds = max((len(pair.copies) for pair in pairs), default=0)
    chosen = [
        pair.copies[number]
        for number in range(min(rounds, most))
        for pair in pairs
        if number < len(pair.copies)
    ][:most]
    pictures = []
    for copy in chosen:
        ends = seen[copy.i], seen[copy.j]
        similarity = "" if copy.similarity == 1 else f", similarity {copy.similarity:.3f}"
        turned = "" if copy.orientation == "as it is" else f", {copy.orientation}"
        pictures.append(
            PairPicture(
                *(_thumbnail(one.picture) for one in ends),
                names=tuple(f"{one.of.name}: {one.slice.key}" for one in ends),
                text=f"{copy.kind}{turned}{similarity}",
            )
        )
    return pictures


def _thumbnail(path: Path) -> str:
    """A data URI; the search has decoded the file, so that it is one."""
    jpeg = io.BytesIO()
    with Image.open(path) as image:
        image.draft("L", (SIDE, SIDE))
        small = image.convert("L")
        small.thumbnail((SIDE, SIDE))
        small.save(jpeg, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.getvalue()).decode("ascii")
