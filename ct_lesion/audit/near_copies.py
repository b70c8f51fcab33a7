"""Which images that look alike are copies: those much nearer to each other than to any other image.

How much neighbouring slices differ depends on their distance, on noise and on the scan. So a pair
is held against what surrounds it: a copy is nearer to its original than the original is to the
slice above it. N images, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .candidates import find_candidates
from .difference import FAR, differences

APART = 0.66
"""A pair of copies differs by less than this share of what either differs from any other image."""
MOST = 0.14
"""Copies differ by less than this, whatever surrounds them."""
MOST_ALONE = 0.06
"""The same where no image is similar enough to show how much neighbours differ."""
ALONE = 0.4  # differences above this are those of other anatomy
SAME = 0.008
"""What differs by less is a copy, whatever surrounds it."""
ROUND = 1.1
"""Copies of one original lie around it: the difference of two of them is at most about the
hypotenuse of their own. Slices of a scan lie in a row: there it is the sum."""


@dataclass(frozen=True)
class NearCopies:
    """Pairs of copies.

    Attributes:
        i, j: ``(P,)`` indices, ``i < j``.
        orientation: ``(P,)``, turns image i into image j.
        difference: ``(P,)``, see ``difference.py``.
    """

    i: np.ndarray
    j: np.ndarray
    orientation: np.ndarray
    difference: np.ndarray


def find_near_copies(
    fingerprints: np.ndarray,
    wanted: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    progress: Callable[[str], None] | None = None,
) -> NearCopies:
    """Find pairs of images that are near copies.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8, of images no two of which have the same pixels.
        wanted: ``(i, j)`` to a bool for each pair: which are to be judged; all by default. The
            others still show how much neighbours differ.
        progress: called with a line at each stage.
    """
    say = progress or (lambda _: None)
    count = len(fingerprints)
    i, j, turn = find_candidates(
        fingerprints, lambda done: say(f"looking up {done:,} of {count:,} images")
    )
    say(f"comparing {len(i):,} pairs of similar images")
    apart = differences(fingerprints, i, j, turn)
    # of the orientations of a pair the best one stands
    order = np.lexsort((apart, j, i))
    i, j, turn, apart = i[order], j[order], turn[order], apart[order]
    first = np.ones(len(i), bool)
    first[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    kept = first & (apart < FAR)
    pairs = NearCopies(i[kept], j[kept], turn[kept], apart[kept])
    judged = np.flatnonzero(pairs.difference <= MOST)
    if wanted is not None:
        judged = judged[wanted(pairs.i[judged], pairs.j[judged])]
    say(f"judging {len(judged):,} of them")
    surroundings = _Surroundings(pairs, count)
    copies = [pair for pair in judged if surroundings.stand_out(pair)]
    return NearCopies(*(f[copies] for f in (pairs.i, pairs.j, pairs.orientation, pairs.difference)))


class _Surroundings:
    """The images that resemble each image, nearest first."""

    def __init__(self, pairs: NearCopies, count: int) -> None:
        self._pairs, self._count = pairs, count
        self._codes = pairs.i * count + pairs.j  # sorted
        ends = np.concatenate([pairs.i, pairs.j])
        others = np.concatenate([pairs.j, pairs.i])
        apart = np.concatenate([pairs.difference, pairs.difference])
        order = np.lexsort((apart, ends))
        self._others, self._apart = others[order], apart[order]
        self._starts = np.searchsorted(ends[order], np.arange(count + 1))

    def stand_out(self, pair: int) -> bool:
        """Whether the images of a pair are nearer to each other than to all others."""
        p = self._pairs
        i, j, apart = int(p.i[pair]), int(p.j[pair]), float(p.difference[pair])
        if apart <= SAME:
            return True
        nearest = min(self._nearest_other(i, j, apart), self._nearest_other(j, i, apart))
        most = MOST if nearest < ALONE else MOST_ALONE
        return apart <= min(most, APART * nearest)

    def _nearest_other(self, i: int, j: int, apart: float) -> float:
        """Difference of image i and the nearest that is no copy of both i and j."""
        for place in range(self._starts[i], self._starts[i + 1]):
            other, far = int(self._others[place]), float(self._apart[place])
            if other != j and not self._is_third_copy(apart, far, self._between(j, other)):
                return far
        return FAR

    def _between(self, i: int, j: int) -> float:
        code = min(i, j) * self._count + max(i, j)
        place = int(np.searchsorted(self._codes, code))
        if place < len(self._codes) and self._codes[place] == code:
            return float(self._pairs.difference[place])
        return FAR

    @staticmethod
    def _is_third_copy(*sides: float) -> bool:
        short, middle, long = sorted(sides)
        return long <= MOST and long <= ROUND * np.hypot(short, middle)
