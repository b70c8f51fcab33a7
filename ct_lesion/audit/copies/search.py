"""Search for copies among tens of thousands of images: the same file, the same pixels, near copies.

A near copy was re-encoded, resized, windowed a little differently, flipped or turned by quarters.
Neighbouring slices of a scan are not copies.
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
        i, j: indices into the facts; ``i < j``.
        kind: ``same bytes``, ``same pixels`` or ``near copy``.
        orientation: one of :data:`ORIENTATIONS`, which turns image i into image j.
        similarity: 0..1; 1 for the same pixels, otherwise 1 minus the difference of
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
        facts: of the images.
        groups: what each image belongs to, e.g. its split: only images of different groups are
            linked. ``None`` links any two images.
        near: also search for near copies.

    Returns:
        Links, sorted by ``i`` and ``j``.

    Raises:
        ValueError: ``groups`` is not as long as ``facts``.
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
    return sorted(links.found, key=lambda link: (link.i, link.j))


def _equal(sound: Sequence[int], hashes: Sequence[str | None]) -> list[list[int]]:
    """Sets of images with the same hash."""
    sets: dict[str, list[int]] = {}
    for n in sound:
        if hashes[n] is not None:
            sets.setdefault(hashes[n], []).append(n)
    return list(sets.values())


def _link_near_copies(
    facts: Sequence[ImageFacts], equal_pixels: list[list[int]], links: _Links
) -> None:
    # one image represents all with the same pixels
    sets = [same for same in equal_pixels if facts[same[0]].fingerprint is not None]
    if len(sets) < 2:
        return
    # the number of each set's group; sets that span groups get a unique negative number
    numbers: dict[Hashable, int] = {}
    held = [{numbers.setdefault(links.groups[n], len(numbers)) for n in same} for same in sets]
    group = np.array([min(own) if len(own) == 1 else -1 - n for n, own in enumerate(held)])
    copies = find_near_copies(
        np.stack([facts[same[0]].fingerprint for same in sets]),
        lambda i, j: group[i] != group[j],
    )
    for n in np.argsort(copies.difference, kind="stable"):
        one, two = sets[copies.i[n]], sets[copies.j[n]]
        links.add(one, two, NEAR, int(copies.orientation[n]), 1 - float(copies.difference[n]))


class _Links:
    """Links between images of different groups, without cycles.

    Attributes:
        groups: of the images.
        found: the links.
    """

    def __init__(self, groups: list[Hashable]) -> None:
        self.groups = groups
        self.found: list[Copy] = []
        self._linked = DisjointSet(range(len(groups)))

    def add(
        self,
        one: list[int],
        two: list[int],
        kind: str,
        orientation: int = 0,
        similarity: float = 1.0,
    ) -> None:
        """Link each image of two sets of equal images with a copy in the other set."""
        for own, others in ((one, two), (two, one)):
            first = others[0]
            other = next((m for m in others if self.groups[m] != self.groups[first]), None)
            for n in own:
                partner = first if self.groups[n] != self.groups[first] else other
                if partner is None or not self._linked.merge(n, partner):
                    continue
                # the orientation turns images of set one into those of set two
                forward = (n < partner) == (own is one)
                turn = orientation if forward else int(INVERSE[orientation])
                i, j = sorted((n, partner))
                self.found.append(Copy(i, j, kind, ORIENTATIONS[turn], similarity))
