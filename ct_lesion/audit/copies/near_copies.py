"""Decides which similar images are copies.

How much neighbouring slices differ depends on their distance, the noise and the scan, so a fixed
threshold is not enough: two images are copies if they also differ much less from each other than
from any other image, such as the next slice. N images, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .candidates import find_candidates
from .difference import FAR, differences

COPY_RATIO = 0.66
"""Two copies differ by less than this share of the difference of either from any other image."""
MOST_DIFFERENT = 0.14
"""Upper limit for the difference of copies."""
MOST_DIFFERENT_ALONE = 0.06
"""Upper limit if there is no neighbour, so nothing shows how much neighbours differ."""
NEIGHBOUR = 0.4  # an image that differs by less is a neighbour; others show other anatomy
SAME = 0.008
"""Images that differ by no more than this are copies, whatever the other images."""
TRIANGLE_SLACK = 1.1
"""Distinguishes three copies of an image from three slices of a scan by their differences. Copies
differ from the original in independent ways: two of them differ by about the hypotenuse of their
differences from the original. Slices lie in a row: the two outer ones differ by the sum."""
MOST_NEIGHBOURS = 12
"""Nearest images that are checked for each image of a pair. If all are copies of it, it belongs to
a large cluster of copies."""


@dataclass(frozen=True)
class SimilarPairs:
    """Pairs of similar images, sorted by i and j.

    Attributes:
        i, j: ``(P,)`` indices, ``i < j``.
        orientation: ``(P,)`` number of the orientation that turns image i into image j.
        difference: ``(P,)``, 0..1, see ``difference.py``.
    """

    i: np.ndarray
    j: np.ndarray
    orientation: np.ndarray
    difference: np.ndarray


def find_near_copies(
    fingerprints: np.ndarray, wanted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> SimilarPairs:
    """Find pairs of images that are near copies.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8, of images with different pixels.
        wanted: maps indices ``i, j`` to bool, ``(P,)`` each: whether to test a pair. The other
            pairs are only used to measure how much neighbours differ.
    """
    i, j, turn = find_candidates(fingerprints)
    apart = differences(fingerprints, i, j, turn)
    # keep each pair's best orientation
    order = np.lexsort((apart, j, i))
    i, j, turn, apart = i[order], j[order], turn[order], apart[order]
    first = np.ones(len(i), bool)
    first[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    kept = first & (apart < FAR)
    pairs = SimilarPairs(i[kept], j[kept], turn[kept], apart[kept])
    tested = np.flatnonzero(pairs.difference <= MOST_DIFFERENT)
    tested = tested[wanted(pairs.i[tested], pairs.j[tested])]
    copies = _select_copies(pairs, tested, fingerprints)
    return SimilarPairs(
        *(f[copies] for f in (pairs.i, pairs.j, pairs.orientation, pairs.difference))
    )


def _select_copies(pairs: SimilarPairs, tested: np.ndarray, fingerprints: np.ndarray) -> list[int]:
    """Select the tested pairs that are copies; returns indices into ``pairs``."""
    neighbours = _Neighbours(pairs, len(fingerprints))
    verdicts = {pair: neighbours.are_copies(pair) for pair in tested.tolist()}
    # rarely, the verdict depends on two images that have not been compared yet
    neighbours.measure_missing(fingerprints)
    for pair, verdict in verdicts.items():
        if verdict is None:
            verdicts[pair] = neighbours.are_copies(pair)
    return [pair for pair, verdict in verdicts.items() if verdict]


class _Neighbours:
    """The similar images of each image, nearest first."""

    def __init__(self, pairs: SimilarPairs, count: int) -> None:
        self._pairs, self._count = pairs, count
        self._codes = pairs.i * count + pairs.j  # sorted
        ends = np.concatenate([pairs.i, pairs.j])
        others = np.concatenate([pairs.j, pairs.i])
        apart = np.concatenate([pairs.difference, pairs.difference])
        order = np.lexsort((apart, ends))
        self._others, self._apart = others[order].tolist(), apart[order].tolist()
        self._starts = np.searchsorted(ends[order], np.arange(count + 1)).tolist()
        self._measured: dict[int, float | None] = {}

    def are_copies(self, pair: int) -> bool | None:
        """Whether the images of a pair are copies; ``None`` if a difference is still missing."""
        p = self._pairs
        i, j, apart = int(p.i[pair]), int(p.j[pair]), float(p.difference[pair])
        if apart <= SAME:
            return True
        nearest, complete = FAR, True
        for a, b in ((i, j), (j, i)):
            for place in range(
                self._starts[a], min(self._starts[a + 1], self._starts[a] + MOST_NEIGHBOURS)
            ):
                other, far = self._others[place], self._apart[place]
                if other == b:
                    continue
                if far * COPY_RATIO >= apart:
                    nearest = min(nearest, far)
                    break
                third = self._between(b, other)
                if third is None:
                    complete = False
                elif not _are_three_copies(apart, far, third):
                    return False
        if not complete:
            return None
        return apart <= (MOST_DIFFERENT if nearest < NEIGHBOUR else MOST_DIFFERENT_ALONE)

    def _between(self, i: int, j: int) -> float | None:
        """Difference of two images; a pair that is not measured yet is noted and gives ``None``."""
        code = min(i, j) * self._count + max(i, j)
        place = int(np.searchsorted(self._codes, code))
        if place < len(self._codes) and self._codes[place] == code:
            return float(self._pairs.difference[place])
        return self._measured.setdefault(code, None)

    def measure_missing(self, fingerprints: np.ndarray) -> None:
        """Measure the noted pairs without turning them.

        Turned copies of the same original are candidates, so they have been compared already.
        """
        codes = np.array(sorted(self._measured), np.int64)
        i, j = codes // self._count, codes % self._count
        apart = differences(fingerprints, i, j, np.zeros_like(i))
        self._measured = dict(zip(codes.tolist(), apart.tolist(), strict=True))


def _are_three_copies(*sides: float) -> bool:
    """Whether three images with these differences are copies of one another."""
    short, middle, long = sorted(sides)
    return long <= MOST_DIFFERENT and long <= TRIANGLE_SLACK * np.hypot(short, middle)
