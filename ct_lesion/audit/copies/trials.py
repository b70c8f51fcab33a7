"""Measures the copy search on given images: makes copies of them and searches for the copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy.cluster.hierarchy import DisjointSet

from ct_lesion.pictures import PictureError
from ct_lesion.scans.names import natural_key

from ..images.decoding import FileDetails, decode_strictly
from ..images.facts import facts_of_pixels
from .kinds import COPY_KINDS
from .search import Copy, find_copies

RUN = 10  # consecutive paths that are sampled together, to include neighbouring slices
ROUNDS = 5  # searches; in each, every original has one copy


@dataclass(frozen=True)
class TrialRow:
    """Result for one kind of copies.

    Attributes:
        kind: what was done to the images, e.g. ``half the size, JPEG quality 50``.
        copies: number of copies made.
        found: number of copies linked with their original.
        wrong: number of links between these copies and other images.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with recall and precision."""
        return {**asdict(self), "recall": self.recall, "precision": self.precision}


@dataclass(frozen=True)
class TrialReport:
    """Results of a trial.

    Attributes:
        images: number of originals.
        rows: one for each kind of copies.
        linked_originals: number of links between originals: real copies, or mistakes.
    """

    images: int
    rows: tuple[TrialRow, ...]
    linked_originals: int

    @property
    def total(self) -> TrialRow:
        """Sum over all kinds."""
        return _sum("all", self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "images": self.images,
            "rows": [row.as_dict() for row in self.rows],
            "linked_originals": self.linked_originals,
            "recall": self.total.recall,
            "precision": self.total.precision,
        }


def _sum(kind: str, rows: Iterable[TrialRow]) -> TrialRow:
    counts = [(row.copies, row.found, row.wrong) for row in rows]
    return TrialRow(kind, *map(sum, zip(*counts, strict=True)))


def run_trial(paths: Sequence[str | Path], sample: int = 200, seed: int = 0) -> TrialReport:
    """Make copies of a sample of images, in memory, and search for them.

    The sample consists of runs of consecutive paths in natural order. Unreadable and constant
    images, and images with too little detail, are skipped.

    Args:
        paths: image files; slices of several patients, best whole scans.
        sample: largest number of originals.
        seed: seed of the choice of images.
    """
    return trial_on(_read(_choose(paths, sample, seed)))


def trial_on(images: Sequence[np.ndarray]) -> TrialReport:
    """Make copies of images ``(H, W)`` uint8 and search for them.

    In each of ROUNDS searches every original has one copy, and neighbouring originals have copies
    of different kinds.
    """
    originals = [facts_of_pixels(image, f"original {n}") for n, image in enumerate(images)]
    known = find_copies(originals)
    origin = DisjointSet(range(len(images)))
    for link in known:
        origin.merge(link.i, link.j)
    rounds = []
    for number in range(ROUNDS):
        shift = number * len(COPY_KINDS) // ROUNDS
        made = [((n + shift) % len(COPY_KINDS), n) for n in range(len(images))]
        copies = [facts_of_pixels(COPY_KINDS[k].copy(images[n]), f"copy {n}") for k, n in made]
        links = find_copies([*originals, *copies])
        rounds.append(count_links(links, made, [origin[n] for n in range(len(images))]))
    rows = tuple(_sum(rows[0].kind, rows) for rows in zip(*rounds, strict=True))
    return TrialReport(len(images), rows, len(known))


def count_links(
    links: Sequence[Copy], made: Sequence[tuple[int, int]], origin: Sequence[int]
) -> list[TrialRow]:
    """Count right and wrong links for each kind of copies.

    Args:
        links: result of the search; indices count the originals first, then the copies.
        made: for each copy, the numbers of its kind and of its original.
        origin: for each original, the number of the original that it is a copy of, or its own.
    """
    count = len(origin)
    found: list[set[int]] = [set() for _ in COPY_KINDS]
    wrong = [0] * len(COPY_KINDS)
    source = list(origin) + [origin[n] for _, n in made]
    for link in links:
        for end, other in ((link.i, link.j), (link.j, link.i)):
            if end < count:
                continue
            kind = made[end - count][0]
            if source[end] != source[other]:
                wrong[kind] += 1
            elif other < count:
                found[kind].add(end)
    return [
        TrialRow(kind.name, sum(k == n for k, _ in made), len(found[n]), wrong[n])
        for n, kind in enumerate(COPY_KINDS)
    ]


def _choose(paths: Sequence[str | Path], sample: int, seed: int) -> list[Path]:
    ordered = sorted({Path(path) for path in paths}, key=lambda path: natural_key(str(path)))
    if len(ordered) <= sample:
        return ordered
    rng = np.random.default_rng(seed)
    runs = range(0, len(ordered), RUN)
    chosen = sorted(rng.choice(len(runs), max(sample // RUN, 1), replace=False))
    return [path for run in chosen for path in ordered[runs[run] : runs[run] + RUN]][:sample]


def _read(paths: Sequence[Path]) -> list[np.ndarray]:
    """Read the grey pixels of the images; images without a fingerprint are skipped."""
    images = []
    for path in paths:
        details = FileDetails()
        try:
            pixels = decode_strictly(path, details)
        except PictureError:
            continue  # the image checks report it
        facts = facts_of_pixels(pixels, path)
        if details.note is None and facts.problem is None and facts.fingerprint is not None:
            images.append(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return images
