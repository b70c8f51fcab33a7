"""Copies of an image among tens of thousands: the same file, the same pixels, or near copies.

A near copy was re-encoded, resized, windowed a little differently, flipped or turned by quarters.
Neighbouring slices of a scan are none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ..images.facts import ImageFacts
from .near_copies import find_near_copies
from .orientations import INVERSE, ORIENTATIONS

KINDS = ("same bytes", "same pixels", "near copy")


@dataclass(frozen=True)
class Copy:
    """Two images that are copies.

    Attributes:
        i, j: indices into the facts; ``i < j``.
        kind: ``same bytes``, ``same pixels`` or ``near copy``.
        orientation: one of :data:`ORIENTATIONS`, which turns image i into image j.
        similarity: 0..1; 1 for the same pixels, 1 less the difference of ``difference.py`` else.
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
    groups = list(range(len(facts))) if groups is None else list(groups)
    if len(groups) != len(facts):
        raise ValueError(f"{len(groups)} groups for {len(facts)} images")
    sound = [n for n, f in enumerate(facts) if f.pixels_sha256 and f.problem_kind != "constant"]
    forest = _Forest(groups)
    for kind, name in zip(KINDS, ("sha256", "pixels_sha256"), strict=False):
        for same in _equal(facts, sound, name):
            forest.link_all(same, kind)
    if near:
        _link_near_copies(facts, sound, forest, progress)
    return sorted(forest.links, key=lambda link: (link.i, link.j))


def _equal(facts: Sequence[ImageFacts], sound: Sequence[int], name: str) -> list[list[int]]:
    """Images with the same check sum."""
    found: dict[str, list[int]] = {}
    for n in sound:
        if getattr(facts[n], name) is not None:
            found.setdefault(getattr(facts[n], name), []).append(n)
    return list(found.values())


def _link_near_copies(
    facts: Sequence[ImageFacts],
    sound: Sequence[int],
    forest: _Forest,
    progress: Callable[[str], None] | None,
) -> None:
    # of images with the same pixels one is searched for
    alike = [
        same
        for same in _equal(facts, sound, "pixels_sha256")
        if facts[same[0]].fingerprint is not None
    ]
    if len(alike) < 2:
        return
    # by number, those with members in several groups have a number of their own
    number: dict[Hashable, int] = {}
    held = [{number.setdefault(forest.groups[n], len(number)) for n in same} for same in alike]
    only = np.array([min(own) if len(own) == 1 else -1 - n for n, own in enumerate(held)])
    copies = find_near_copies(
        np.stack([facts[same[0]].fingerprint for same in alike]),
        lambda i, j: only[i] != only[j],
        progress,
    )
    for n in np.argsort(copies.difference, kind="stable"):
        forest.link(
            alike[copies.i[n]],
            alike[copies.j[n]],
            KINDS[2],
            ORIENTATIONS[copies.orientation[n]],
            1 - float(copies.difference[n]),
        )


class _Forest:
    """Links that join images of different groups, none of which closes a ring."""

    def __init__(self, groups: list[Hashable]) -> None:
        self.groups = groups
        self.links: list[Copy] = []
        self._parents = list(range(len(groups)))

    def link_all(self, same: list[int], kind: str) -> None:
        """Link equal images: k of them, in two groups or more, with k - 1 links."""
        first = same[0]
        other = next((n for n in same if self.groups[n] != self.groups[first]), None)
        if other is None:
            return
        for n in same[1:]:
            partner = first if self.groups[n] != self.groups[first] else other
            self._join(n, partner, kind, ORIENTATIONS[0], 1.0)

    def link(
        self, one: list[int], two: list[int], kind: str, orientation: str, similarity: float
    ) -> None:
        """Link two sets of equal images that are copies of one another."""
        for own, others in ((one, two), (two, one)):
            for n in own:
                partner = next((m for m in others if self.groups[m] != self.groups[n]), None)
                if partner is not None:
                    a, b = (n, partner) if own is one else (partner, n)
                    self._join(a, b, kind, orientation, similarity)

    def _join(self, a: int, b: int, kind: str, orientation: str, similarity: float) -> None:
        root_a, root_b = self._root(a), self._root(b)
        if root_a == root_b:
            return
        self._parents[root_b] = root_a
        if a > b:
            a, b = b, a
            inverse = INVERSE[ORIENTATIONS.index(orientation)]
            orientation = ORIENTATIONS[inverse]
        self.links.append(Copy(a, b, kind, orientation, similarity))

    def _root(self, n: int) -> int:
        while self._parents[n] != n:
            self._parents[n] = n = self._parents[self._parents[n]]
        return n
