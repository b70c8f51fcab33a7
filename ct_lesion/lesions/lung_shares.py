"""Lesion as a share of lungs, thirds of lungs and lobes, and the severity score of COVID-19."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .measures import THIRDS

SCORE_SHARES = (0.05, 0.25, 0.50, 0.75)
"""Limits between the scores 1 to 5 of a lobe, see :func:`severity_score`."""


class RegionCounts:
    """Counts slice by slice the pixels of regions, and the lesion pixels in them.

    Attributes:
        pixels, lesion: (S, labels) int64, pixels and lesion pixels of each region in each slice.
    """

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
        """Count the pixels of a slice; ``lesion`` is (H, W) bool."""
        labels = self._labels[index]
        self.pixels[index] = np.bincount(labels.ravel(), minlength=self._size)
        self.lesion[index] = np.bincount(labels[lesion], minlength=self._size)

    @property
    def found(self) -> list[int]:
        """The labels that occur in the slices counted so far."""
        return [label for label in range(1, self._size) if self.pixels[:, label].any()]

    def share(self, label: int, weights: Sequence[float], slices: slice = slice(None)) -> float:
        """Lesion as a share of a region, 0..1; NaN if the region is empty.

        Args:
            label: the region's.
            weights: thickness of each slice.
            slices: slices to include; default: all.
        """
        weights = np.asarray(weights, float)[slices]
        whole = float(self.pixels[slices, label] @ weights)
        return float(self.lesion[slices, label] @ weights) / whole if whole else float("nan")

    def thirds(self, label: int, weights: Sequence[float]) -> dict[str, float | None]:
        """Lesion as a share of each third of a region's extent along z.

        A slice belongs to the third that contains its middle. An empty third is ``None``.
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
    """The severity score of a lobe, 0 to 5, from lesion as a share of the lobe.

    0 no lesion, 1 below 5 %, 2 from 5 to 25 %, 3 above 25 and below 50 %, 4 from 50 to 75 %, 5
    above 75 %, as in Pan et al., Radiology 2020;295:715 (doi 10.1148/radiol.2020200370). The
    severity score of a scan is the sum over the five lobes, 0 to 25.
    """
    if share <= 0:
        return 0
    low, quarter, half, most = SCORE_SHARES
    reached = share >= low, share > quarter, share >= half, share > most
    return 1 + sum(reached)
