"""Searches tens of thousands of images for copies: same file, same pixels, or near copies.

A near copy is re-encoded, resized, flipped, turned by a multiple of 90 degrees, or has a slightly
different window. Neighbouring slices of a scan are not copies.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from ..images.facts import ImageFacts
from .near_copies import find_near_copies
from .orientations import INVERSE, ORIENTATIONS

BYTES, PIXELS, NEAR = "same bytes", "same pixels", "near copy"


@dataclass(frozen=True)
class Copy:
    """Two images that are copies.

    Attributes:
        i, j: indices of the images; ``i < j``.
        kind: ``same bytes``, ``same pixels`` or ``near copy``.
        orientation: the one of :data:`ORIENTATIONS` that turns image i into image j.
        similarity: 0..1; 1 for the same pixels, otherwise 1 minus the difference as defined in
            ``difference.py``.
    """

    i: int
    j: int
    kind: str
    orientation: str = ORIENTATIONS[0]
    similarity: float = 1.0


def find_copies(
    facts: Sequence[ImageFacts],
    groups: Sequence[Hashable] | None = None,
    near: bool = True,
) -> list[Copy]:
    """Find images that are copies of one another.

    Time and number of links grow about linearly with the number of images: k images that are all
    copies of one another give k - 1 links, not all pairs. Unreadable and constant images are
    skipped; images with too little detail are compared by bytes and pixels only.

    Args:
        facts: facts of each image.
        groups: group of each image, e.g. its split; only images of different groups are linked.
            With ``None``, any two images may be linked.
        near: also search for near copies.

    Returns:
        Links, sorted by ``i`` and ``j``.

    Raises:
        ValueError: ``groups`` and ``facts`` differ in length.
    """
    groups = list(range(len(facts))) if groups is None else list(groups)
    if len(groups) != len(facts):
        raise ValueError(f"{len(groups)} groups for {len(facts)} images")
    sound = [n for n, f in enumerate(facts) if f.pixels_sha256 and f.problem_kind != "constant"]
    links = _Links(groups)
    for same in _equal(sound, [f.sha256 for f in facts]):
        links.add(same, same, BYTES)
    equal_pixels = _equal(sound, [f.pixels_sha256 for f in facts])
    for same in equal_pixels:
        links.add(same, same, PIXELS)
    if near:
        _link_near_copies(facts, equal_pixels, links)
    return sorted(links.copies, key=lambda link: (link.i, link.j))


def _equal(sound: Sequence[int], hashes: Sequence[str | None]) -> list[list[int]]:
    """Collect the images with the same hash; single images are lists of one."""
    sets: dict[str, list[int]] = {}
    for n in sound:
        if hashes[n] is not None:
            sets.setdefault(hashes[n], []).append(n)
    return list(sets.values())


def _link_near_copies(
    facts: Sequence[ImageFacts], equal_pixels: list[list[int]], links: _Links
) -> None:
    # compare one image of each set of images with equal pixels
    sets = [same for same in equal_pixels if facts[same[0]].fingerprint is not None]
    if len(sets) < 2:
        return
    # number the groups of the sets; sets that span groups get a unique negative number
    numbers: dict[Hashable, int] = {}
    spans = [{numbers.setdefault(links.groups[n], len(numbers)) for n in same} for same in sets]
    group = np.array([min(span) if len(span) == 1 else -1 - n for n, span in enumerate(spans)])
    copies = find_near_copies(
        np.stack([facts[same[0]].fingerprint for same in sets]),
        lambda i, j: group[i] != group[j],
    )
    for n in np.argsort(copies.difference, kind="stable"):
        a, b = sets[copies.i[n]], sets[copies.j[n]]
        links.add(a, b, NEAR, int(copies.orientation[n]), 1 - float(copies.difference[n]))


class _Links:
    """Collects links between images of different groups, without cycles.

    Attributes:
        groups: group of each image.
        copies: the links.
    """

    def __init__(self, groups: list[Hashable]) -> None:
        self.groups = groups
        self.copies: list[Copy] = []
        self._linked = DisjointSet(range(len(groups)))

    def add(
        self,
        a: list[int],
        b: list[int],
        kind: str,
        orientation: int = 0,
        similarity: float = 1.0,
    ) -> None:
        """Link each image of two sets with an image of another group in the other set.

        Args:
            a, b: indices of images with equal pixels; the same set twice links within it.
            kind: kind of the copies.
            orientation: turns images a into images b.
            similarity: similarity of images a and b.
        """
        for members, others in ((a, b), (b, a)):
            first = others[0]
            other = next((m for m in others if self.groups[m] != self.groups[first]), None)
            for n in members:
                partner = first if self.groups[n] != self.groups[first] else other
                if partner is None or not self._linked.merge(n, partner):
                    continue
                # the orientation applies from a to b, the link runs from the lower index
                forward = (n < partner) == (members is a)
                turn = orientation if forward else int(INVERSE[orientation])
                i, j = sorted((n, partner))
                self.copies.append(Copy(i, j, kind, ORIENTATIONS[turn], similarity))
