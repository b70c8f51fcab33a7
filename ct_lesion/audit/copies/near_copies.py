"""Decides which similar images are copies: those much closer to each other than to other images.

The difference of neighbouring slices depends on slice distance, noise and scan. Each pair is
therefore compared with the images around it: a copy is closer to its original than the original is
to the next slice. N images, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .candidates import find_candidates
from .difference import FAR, differences

APART = 0.66
"""Copies differ by less than this share of the difference of either from any other image."""
MOST = 0.14
"""Copies differ by less than this in any case."""
MOST_ALONE = 0.06
"""The same limit if no other image is similar enough to show how much neighbours differ."""
ALONE = 0.4  # images that differ by more show other anatomy
SAME = 0.008
"""Images that differ by less are copies, whatever the other images."""
ROUND = 1.1
"""Copies of the same original surround it: two copies differ by at most about the hypotenuse of
their differences from the original. Slices of a scan lie in a row: there it is the sum."""
MOST_LOOKED_AT = 12
"""Nearest images that are examined for each; if all are copies too, it is a large cluster."""


@dataclass(frozen=True)
class NearCopies:
    """Pairs of copies.

    Attributes:
        i, j: ``(P,)`` indices, ``i < j``.
        orientation: ``(P,)``, turns image i into image j.
        difference: ``(P,)``, see ``difference.py``; sorted by i and j.
    """

    i: np.ndarray
    j: np.ndarray
    orientation: np.ndarray
    difference: np.ndarray


def find_near_copies(
    fingerprints: np.ndarray, wanted: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> NearCopies:
    """Find pairs of images that are near copies.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8, of images with different pixels.
        wanted: maps ``i, j`` to a bool for each pair: whether to judge it. The other pairs still
            show how much neighbours differ.
    """
    i, j, turn = find_candidates(fingerprints)
    apart = differences(fingerprints, i, j, turn)
    # keep each pair's best orientation
    order = np.lexsort((apart, j, i))
    i, j, turn, apart = i[order], j[order], turn[order], apart[order]
    first = np.ones(len(i), bool)
    first[1:] = (i[1:] != i[:-1]) | (j[1:] != j[:-1])
    kept = first & (apart < FAR)
    pairs = NearCopies(i[kept], j[kept], turn[kept], apart[kept])
    judged = np.flatnonzero(pairs.difference <= MOST)
    judged = judged[wanted(pairs.i[judged], pairs.j[judged])]
    copies = _stand_out(pairs, judged, fingerprints)
    return NearCopies(*(f[copies] for f in (pairs.i, pairs.j, pairs.orientation, pairs.difference)))


def _stand_out(pairs: NearCopies, judged: np.ndarray, fingerprints: np.ndarray) -> list[int]:
    """The judged pairs whose images are closer to each other than to all other images."""
    surroundings = _Surroundings(pairs, len(fingerprints))
    verdicts = {pair: surroundings.stand_out(pair) for pair in judged.tolist()}
    # rarely, the verdict depends on two images that were not compared yet
    surroundings.measure_missing(fingerprints)
    for pair, verdict in verdicts.items():
        if verdict is None:
            verdicts[pair] = surroundings.stand_out(pair)
    return [pair for pair, verdict in verdicts.items() if verdict]


class _Surroundings:
    """The images similar to each image, nearest first."""

    def __init__(self, pairs: NearCopies, count: int) -> None:
        self._pairs, self._count = pairs, count
        self._codes = pairs.i * count + pairs.j  # sorted
        ends = np.concatenate([pairs.i, pairs.j])
        others = np.concatenate([pairs.j, pairs.i])
        apart = np.concatenate([pairs.difference, pairs.difference])
        order = np.lexsort((apart, ends))
        self._others, self._apart = others[order].tolist(), apart[order].tolist()
        self._starts = np.searchsorted(ends[order], np.arange(count + 1)).tolist()
        self._measured: dict[int, float | None] = {}

    def stand_out(self, pair: int) -> bool | None:
        """Whether a pair are copies; ``None`` if another difference must be measured first."""
        p = self._pairs
        i, j, apart = int(p.i[pair]), int(p.j[pair]), float(p.difference[pair])
        if apart <= SAME:
            return True
        nearest, sure = FAR, True
        for one, two in ((i, j), (j, i)):
            for place in range(
                self._starts[one], min(self._starts[one + 1], self._starts[one] + MOST_LOOKED_AT)
            ):
                other, far = self._others[place], self._apart[place]
                if other == two:
                    continue
                if far * APART >= apart:
                    nearest = min(nearest, far)
                    break
                third = self._between(two, other)
                if third is None:
                    sure = False
                elif not _is_third_copy(apart, far, third):
                    return False
        if not sure:
            return None
        return apart <= (MOST if nearest < ALONE else MOST_ALONE)

    def _between(self, i: int, j: int) -> float | None:
        """Difference of two images; ``None`` if it is not measured yet, and then noted."""
        code = min(i, j) * self._count + max(i, j)
        place = int(np.searchsorted(self._codes, code))
        if place < len(self._codes) and self._codes[place] == code:
            return float(self._pairs.difference[place])
        return self._measured.setdefault(code, None)

    def measure_missing(self, fingerprints: np.ndarray) -> None:
        """Measure the noted pairs, unturned: turned copies of the same original are candidates of
        each other already."""
        codes = np.array(sorted(self._measured), np.int64)
        i, j = codes // self._count, codes % self._count
        found = differences(fingerprints, i, j, np.zeros_like(i))
        self._measured = dict(zip(codes.tolist(), found.tolist(), strict=True))


def _is_third_copy(*sides: float) -> bool:
    short, middle, long = sorted(sides)
    return long <= MOST and long <= ROUND * np.hypot(short, middle)
