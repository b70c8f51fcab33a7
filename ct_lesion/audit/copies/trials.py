"""How well the search for copies works on the images at hand: makes copies and looks for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ct_lesion.pictures import PictureError
from ct_lesion.scans.names import natural_key

from ..images.decoding import FileDetails, decode_strictly
from ..images.facts import ImageFacts, facts_of_pixels
from .kinds import COPY_KINDS, CopyKind
from .search import Copy, find_copies

RUN = 10  # consecutive paths taken together, so that neighbouring slices are among them


@dataclass(frozen=True)
class TrialRow:
    """One kind of copies.

    Attributes:
        kind: what was done to the images, e.g. ``half the size, JPEG quality 50``.
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
        return _ratio(self.found, self.copies)

    @property
    def precision(self) -> float | None:
        """Share of the links that are right; ``None`` without links."""
        return _ratio(self.found, self.found + self.wrong)


@dataclass(frozen=True)
class TrialReport:
    """A trial.

    Attributes:
        images: originals, all of which were searched; neighbouring slices are among them.
        rows: one a kind of copies.
        linked_originals: links found among the originals alone. These are copies that were there
            before, or mistakes; who knows that there are none counts them as such.
    """

    images: int
    rows: tuple[TrialRow, ...]
    linked_originals: int

    @property
    def copies(self) -> int:
        """How many were made, of all kinds."""
        return sum(row.copies for row in self.rows)

    @property
    def recall(self) -> float | None:
        """Over all kinds."""
        return _ratio(sum(row.found for row in self.rows), self.copies)

    @property
    def precision(self) -> float | None:
        """Over all kinds."""
        found = sum(row.found for row in self.rows)
        return _ratio(found, found + sum(row.wrong for row in self.rows))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def run_trial(
    paths: Sequence[str | Path],
    *,
    sample: int = 200,
    copies: int = 50,
    seed: int = 0,
    kinds: Sequence[CopyKind] = COPY_KINDS,
    progress: Callable[[str], None] | None = None,
) -> TrialReport:
    """Make copies of a sample of images, in memory, and search for them.

    The sample is taken in runs of consecutive paths, in their natural order. Files that cannot be
    read, constant images and those without a fingerprint are left out.

    Args:
        paths: image files; slices of several patients, best whole scans.
        sample: how many originals, at most.
        copies: how many of each kind, at most; no more than there are originals.
        seed: of the choice of images.
        kinds: of copies.
        progress: called with a line at each stage.
    """
    say = progress or (lambda _: None)
    say("reading a sample of the images")
    images = _read(_choose(paths, sample, seed))
    return trial_on(images, copies=copies, kinds=kinds, progress=say)


def trial_on(
    images: Sequence[np.ndarray],
    *,
    copies: int = 50,
    kinds: Sequence[CopyKind] = COPY_KINDS,
    progress: Callable[[str], None] | None = None,
) -> TrialReport:
    """The same for images ``(H, W)`` uint8 in memory.

    There are several searches, in each of which an original has one copy at most.
    """
    say = progress or (lambda _: None)
    originals = [facts_of_pixels(image, f"original {n}") for n, image in enumerate(images)]
    count = len(originals)
    if not count:
        return TrialReport(0, tuple(TrialRow(kind.name, 0, 0, 0) for kind in kinds), 0)
    known = find_copies(originals)
    origin = _origins(count, known)
    copies = min(copies, count)
    together = count // copies  # kinds that share a search
    rows: list[TrialRow] = []
    for first in range(0, len(kinds), together):
        part = kinds[first : first + together]
        say(f"searching for copies: {part[0].name}" + (" and others" if part[1:] else ""))
        # spread over all originals, each kind those that are next to another kind's
        made = [(k, n) for k in range(len(part)) for n in range(k, count, together)][: len(images)]
        made = [(k, n) for k, n in made if n // together < copies]
        facts = originals + [facts_of_pixels(part[k].copy(images[n]), f"copy {n}") for k, n in made]
        rows += count_links(find_copies(facts), part, made, origin)
    return TrialReport(count, tuple(rows), len(known))


def count_links(
    links: Sequence[Copy],
    kinds: Sequence[CopyKind],
    made: Sequence[tuple[int, int]],
    origin: Sequence[int],
) -> list[TrialRow]:
    """What a search has found of each kind of copies.

    Args:
        links: of a search among originals, followed by copies.
        kinds: of copies.
        made: of each copy its kind and its original, by number.
        origin: of each original the one that it is itself a copy of, or its own number.
    """
    count = len(origin)
    found: list[set[int]] = [set() for _ in kinds]
    wrong = [0] * len(kinds)
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
    made_of = [sum(k == kind for k, _ in made) for kind in range(len(kinds))]
    return [
        TrialRow(kind.name, made_of[n], len(found[n]), wrong[n]) for n, kind in enumerate(kinds)
    ]


def _origins(count: int, known: Sequence[Copy]) -> list[int]:
    """Of each original the first it is linked with: copies of either are copies of both."""
    origin = list(range(count))
    for link in known:
        old, new = sorted((origin[link.i], origin[link.j]), reverse=True)
        origin = [new if o == old else o for o in origin]
    return origin


def _choose(paths: Sequence[str | Path], sample: int, seed: int) -> list[Path]:
    ordered = sorted({Path(path) for path in paths}, key=lambda path: natural_key(str(path)))
    if len(ordered) <= sample:
        return ordered
    rng = np.random.default_rng(seed)
    runs = range(0, len(ordered), RUN)
    chosen = sorted(rng.choice(len(runs), max(sample // RUN, 1), replace=False))
    return [path for run in chosen for path in ordered[runs[run] : runs[run] + RUN]]


def _read(paths: Sequence[Path]) -> list[np.ndarray]:
    """Grey pixels of those that can be searched for."""
    images = []
    for path in paths:
        details = FileDetails()
        try:
            pixels = decode_strictly(path, details)
        except PictureError:
            continue  # the audit reports it, with all other files
        if details.note is None and _searchable(facts_of_pixels(pixels, path)):
            images.append(pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    return images


def _searchable(facts: ImageFacts) -> bool:
    return facts.problem is None and facts.fingerprint is not None
