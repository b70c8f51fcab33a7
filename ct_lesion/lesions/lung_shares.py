"""Lesion as a share of lungs, of their thirds and of lobes, and the severity score of COVID-19."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .measures import THIRDS

SCORE_SHARES = (0.05, 0.25, 0.50, 0.75)
"""Shares of a lobe from which on its severity score is 2, 3, 4 and 5 (the last one is not)."""


class RegionCounts:
    """Counts the pixels of regions, and of lesion in them, slice by slice."""

    def __init__(self, labels: np.ndarray) -> None:
        """
        Args:
            labels: (S, H, W) uint8 of the regions, 0 is background.
        """
        self._labels = labels
        self._size = 1 + int(labels.max(initial=0))
        self.pixels = np.zeros((len(labels), self._size), np.int64)
        self.lesion = np.zeros_like(self.pixels)

    def add(self, index: int, lesion: np.ndarray) -> None:
        """Count in a slice; ``lesion`` is (H, W) bool."""
        labels = self._labels[index]
        self.pixels[index] = np.bincount(labels.ravel(), minlength=self._size)
        self.lesion[index] = np.bincount(labels[lesion], minlength=self._size)

    @property
    def found(self) -> list[int]:
        """The labels that occur."""
        return [label for label in range(1, self._size) if self.pixels[:, label].any()]

    def share(self, label: int, weights: Sequence[float], slices: slice = slice(None)) -> float:
        """Lesion as a share of a region, 0..1; NaN without any of it.

        Args:
            weights: the thickness that each slice counts with.
            slices: those that count.
        """
        weights = np.asarray(weights, float)[slices]
        whole = float(self.pixels[slices, label] @ weights)
        return float(self.lesion[slices, label] @ weights) / whole if whole else float("nan")

    def thirds(self, label: int, weights: Sequence[float]) -> dict[str, float | None]:
        """Lesion as a share of the thirds of a region's extent along z.

        A slice belongs to the third that holds its middle.
        """
        affected = np.flatnonzero(self.pixels[:, label])
        first, last = int(affected[0]), int(affected[-1])
        thickness = np.asarray(weights, float)[first : last + 1]
        heights = (np.cumsum(thickness) - thickness / 2) / thickness.sum()
        ends = first + np.searchsorted(heights, [0, 1 / 3, 2 / 3, 1])
        shares = {
            name: self.share(label, weights, slice(start, stop))
            for name, start, stop in zip(THIRDS, ends, ends[1:], strict=False)
        }
        return {name: None if np.isnan(share) else share for name, share in shares.items()}


def severity_score(share: float) -> int:
    """The score of a lobe, 0 to 5, by lesion as its share.

    0 none, 1 below 5 %, 2 from 5 to 25 %, 3 above 25 and below 50 %, 4 from 50 to 75 %, 5 above
    75 %, as in Pan et al., Radiology 2020;295:715 (doi 10.1148/radiol.2020200370). The sum of the
    five lobes is the score of the lungs, 0 to 25.
    """
    if share <= 0:
        return 0
    low, quarter, half, most = SCORE_SHARES
    reached = share >= low, share > quarter, share >= half, share > most
    return 1 + sum(reached)
