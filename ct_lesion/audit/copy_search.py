"""Copies of an image among tens of thousands: the same file, the same pixels, or near copies.

A near copy was re-encoded, resized, windowed a little differently, flipped or turned by quarters.
Neighbouring slices of a scan are none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from .image_facts import ImageFacts

ORIENTATIONS = (
    *("as it is", "flipped left-right", "flipped up-down", "turned by 180 degrees"),
    *("transposed", "turned by 90 degrees", "turned by 270 degrees", "transposed and turned"),
)
"""What turns image i into image j; degrees counterclockwise."""


@dataclass(frozen=True)
class Copy:
    """Two images that are copies.

    Attributes:
        i, j: indices into the facts; ``i < j``.
        kind: ``same bytes``, ``same pixels`` or ``near copy``.
        orientation: one of :data:`ORIENTATIONS`.
        similarity: 0..1; 1 for the same pixels.
    """

    i: int
    j: int
    kind: str
    orientation: str = ORIENTATIONS[0]
    similarity: float = 1.0


def find_copies(
    facts: Sequence[ImageFacts],
    groups: Sequence[Hashable] | None = None,
    *,
    near: bool = True,
    progress: Callable[[str], None] | None = None,
) -> list[Copy]:
    """Find images that are copies of one another.

    Time and number of results grow about linearly with the number of images. k images that are all
    copies of one another give k - 1 links, not all pairs. Unreadable and constant images are left
    out, and images with too little in them are searched for the same bytes and pixels only.

    Args:
        facts: of the images.
        groups: what each image belongs to, e.g. its split: only links between images of different
            groups are reported. ``None`` for links between any two images.
        near: search for near copies as well.
        progress: called with a line at each stage.

    Returns:
        Links, sorted by ``i`` and ``j``.

    Raises:
        ValueError: ``groups`` is not as long as ``facts``.
    """
    raise NotImplementedError
