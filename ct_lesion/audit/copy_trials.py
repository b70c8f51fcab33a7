"""How well the search for copies works on the images at hand: makes copies and looks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialRow:
    """One kind of copies.

    Attributes:
        kind: what was done to the images, e.g. ``JPEG, quality 50 and flipped left-right``.
        copies: how many were made.
        found: how many of them were found, linked with their original.
        wrong: links that the copies of this kind got with other images.
    """

    kind: str
    copies: int
    found: int
    wrong: int

    @property
    def recall(self) -> float | None:
        """Share of the copies that were found; ``None`` without copies."""
        return self.found / self.copies if self.copies else None

    @property
    def precision(self) -> float | None:
        """Share of the links that are right; ``None`` without links."""
        links = self.found + self.wrong
        return self.found / links if links else None


@dataclass(frozen=True)
class TrialReport:
    """A trial.

    Attributes:
        images: how many images copies were made of.
        others: images among which the copies had to be found.
        rows: one a kind of copies.
        wrong_originals: links between originals, none of which is a copy as far as is known
            (pairs that the caller's own search reported as copies are not counted).
    """

    images: int
    others: int
    rows: tuple[TrialRow, ...]
    wrong_originals: int

    @property
    def recall(self) -> float | None:
        """Over all kinds."""
        return _ratio(sum(r.found for r in self.rows), sum(r.copies for r in self.rows))

    @property
    def precision(self) -> float | None:
        """Over all kinds."""
        found = sum(r.found for r in self.rows)
        return _ratio(found, found + sum(r.wrong for r in self.rows))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def run_trial(
    paths: Sequence[str | Path],
    *,
    sample: int = 200,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> TrialReport:
    """Make copies of a sample of images, each kind, and search for them.

    The sample is taken in runs of consecutive paths, in their natural order, so that neighbouring
    slices of scans are among it. Copies are made in memory. Files that cannot be read are left out.

    Args:
        paths: image files; slices of several patients, best whole scans.
        sample: how many images to make copies of, at most.
        seed: of the choice of images.
        progress: called with a line at each stage.
    """
    raise NotImplementedError
