"""Findings about copies of images, by the patients that they connect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Finding, Severity, count
from ..images.checks import SeenSlice
from ..inputs.slices import groups_of, person
from ..thresholds import FEWEST_NEAR_COPIES
from .search import NEAR, Copy, find_copies


@dataclass(frozen=True)
class PatientPair:
    """Two patients with images in common; inputs where the patients are unknown.

    Attributes:
        inputs: names of their inputs.
        patients: their ids; ``None`` if unknown.
        groups: their groups.
        copies: links between them, exact copies first.
    """

    inputs: tuple[str, str]
    patients: tuple[str | None, str | None]
    groups: tuple[str, str]
    copies: tuple[Copy, ...]

    @property
    def exact(self) -> int:
        """Number of links with the same bytes or pixels."""
        return sum(copy.kind != NEAR for copy in self.copies)

    @property
    def is_sure(self) -> bool:
        """Whether chance can be excluded: an exact copy, or several near copies."""
        return self.exact > 0 or len(self.copies) >= FEWEST_NEAR_COPIES

    def __str__(self) -> str:
        a, b = (
            f"an unnamed patient of {name}" if patient is None else f"patient {patient} of {name}"
            for patient, name in zip(self.patients, self.inputs, strict=True)
        )
        kinds = f"{self.exact} identical" if self.exact else "no identical images, only near copies"
        return f"{a} looks like {b}: {count(len(self.copies), 'slice')} ({kinds})"

    def as_dict(self, seen: Sequence[SeenSlice]) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            seen: the slices that the links index.
        """
        return {
            "inputs": list(self.inputs),
            "patients": list(self.patients),
            "groups": list(self.groups),
            "slices": [
                {
                    "a": seen[copy.i].slice.key,
                    "b": seen[copy.j].slice.key,
                    "kind": copy.kind,
                    "orientation": copy.orientation,
                    "similarity": round(copy.similarity, 4),
                }
                for copy in self.copies
            ],
        }


def search_between_groups(seen: Sequence[SeenSlice]) -> list[PatientPair]:
    """Find patients of different groups with images in common; most slices first."""
    links = find_copies([s.facts for s in seen], [s.of.group for s in seen])
    return _pair_patients(seen, links)


def search_within_groups(seen: Sequence[SeenSlice]) -> list[PatientPair]:
    """Find patients of the same group with identical images: one person twice, or a mix-up."""
    # a slice without a patient counts as a patient by itself
    patients = [person(s.of, s.slice) or (s.of.name, f"slice {s.slice.key}") for s in seen]
    copies = []
    for group in groups_of([s.of for s in seen]):
        own = [index for index, s in enumerate(seen) if s.of.group == group]
        links = find_copies([seen[i].facts for i in own], [patients[i] for i in own], near=False)
        for link in links:
            ends = sorted((own[link.i], own[link.j]), key=lambda index: patients[index])
            copies.append(Copy(*ends, link.kind))
    return _pair_patients(seen, copies)


def _pair_patients(seen: Sequence[SeenSlice], links: Sequence[Copy]) -> list[PatientPair]:
    by_patients: dict[tuple, list[Copy]] = defaultdict(list)
    for link in links:
        a, b = seen[link.i], seen[link.j]
        inputs, patients = (a.of.name, b.of.name), (a.slice.patient, b.slice.patient)
        by_patients[inputs, patients, (a.of.group, b.of.group)].append(link)
    pairs = [
        PatientPair(*key, tuple(sorted(copies, key=lambda c: (c.kind == NEAR, -c.similarity, c.i))))
        for key, copies in by_patients.items()
    ]
    return sorted(pairs, key=lambda pair: (-len(pair.copies), pair.inputs, str(pair.patients)))


def find_copied(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """For each two groups: a finding for certain copies, and one for those by chance perhaps."""
    chosen: dict[tuple[str, str, bool], list[PatientPair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: not pair.is_sure):
        chosen[(*pair.groups, pair.is_sure)].append(pair)
    for (a, b, is_sure), own in chosen.items():
        images = count(len({copy.i for pair in own for copy in pair.copies}), "image")
        what = f"{images} of {a} copied in {b}, between {count(len(own), 'pair')} of patients."
        where = [str(pair) for pair in own]
        if is_sure:
            advice = "Put both patients into one group, or remove one: they look like one person."
            yield Finding(Severity.ERROR, "copies_between_groups", what, where, advice)
        else:
            advice = "Look at the images below: a single slice may look alike by chance."
            yield Finding(Severity.WARNING, "single_copies_between_groups", what, where, advice)


def find_copied_within(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """A finding for each group that has identical images for two patients."""
    by_group: dict[str, list[PatientPair]] = defaultdict(list)
    for pair in pairs:
        by_group[pair.groups[0]].append(pair)
    for group, own in by_group.items():
        images = count(sum(len(pair.copies) for pair in own), "image")
        yield Finding(
            Severity.WARNING,
            "copies_within_a_group",
            f"{group}: {images} identical to an image of another patient, or repeated.",
            [str(pair) for pair in own],
            "One person with two patient ids, or files mixed up; they get twice the weight.",
        )
