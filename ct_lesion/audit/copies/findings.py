"""Copies of images, told by the patients they connect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Finding, Severity, count
from ..images.checks import SeenSlice
from ..inputs.slices import groups_of, person
from ..thresholds import FEWEST_NEAR_COPIES
from .search import Copy, find_copies

NEAR = "near copy"


@dataclass(frozen=True)
class PatientPair:
    """Two patients, or inputs where nobody says who a slice is of, with images in common.

    Attributes:
        inputs: where each of them is.
        patients: their numbers there; ``None`` where there are none.
        groups: of each.
        copies: links between them, the exact ones first.
    """

    inputs: tuple[str, str]
    patients: tuple[str | None, str | None]
    groups: tuple[str, str]
    copies: tuple[Copy, ...]

    @property
    def exact(self) -> int:
        """Links of the same bytes or pixels."""
        return sum(copy.kind != NEAR for copy in self.copies)

    @property
    def is_sure(self) -> bool:
        """Whether this can hardly be chance."""
        return self.exact > 0 or len(self.copies) >= FEWEST_NEAR_COPIES

    def __str__(self) -> str:
        a, b = (
            f"someone of {name}" if patient is None else f"patient {patient} of {name}"
            for patient, name in zip(self.patients, self.inputs, strict=True)
        )
        kinds = f"{self.exact} the same" if self.exact else "none the same, all alike"
        return f"{a} looks like {b}: {count(len(self.copies), 'slice')} ({kinds})"

    def as_dict(self, seen: Sequence[SeenSlice]) -> dict[str, Any]:
        """Plain values for JSON."""
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


def search_between_groups(
    seen: Sequence[SeenSlice], progress: Callable[[str], None] | None = None
) -> list[PatientPair]:
    """Patients of different groups with images in common; most slices first."""
    facts = [one.facts for one in seen]
    links = find_copies(facts, [one.of.group for one in seen], progress=progress)
    return _pair_patients(seen, links)


def search_within_groups(seen: Sequence[SeenSlice]) -> list[PatientPair]:
    """Patients of one group with the very same images: one person of two numbers, or a mix-up."""
    # a slice without a patient may be of anybody: one by one
    owners = [person(one.of, one.slice) or (one.of.name, f"slice {one.slice.key}") for one in seen]
    pairs = []
    for group in groups_of([one.of for one in seen]):
        own = [index for index, one in enumerate(seen) if one.of.group == group]
        links = find_copies([seen[i].facts for i in own], [owners[i] for i in own], near=False)
        for link in links:
            ends = sorted((own[link.i], own[link.j]), key=lambda index: owners[index])
            pairs.append(Copy(*ends, link.kind))
    return _pair_patients(seen, pairs)


def _pair_patients(seen: Sequence[SeenSlice], links: Sequence[Copy]) -> list[PatientPair]:
    pairs: dict[tuple, list[Copy]] = defaultdict(list)
    for link in links:
        a, b = seen[link.i], seen[link.j]
        key = (a.of.name, a.slice.patient), (b.of.name, b.slice.patient), a.of.group, b.of.group
        pairs[key].append(link)
    found = [
        PatientPair(
            (a[0], b[0]),
            (a[1], b[1]),
            (groups[0], groups[1]),
            tuple(sorted(copies, key=lambda c: (c.kind == NEAR, -c.similarity, c.i))),
        )
        for (a, b, *groups), copies in pairs.items()
    ]
    return sorted(found, key=lambda pair: (-len(pair.copies), pair.inputs, str(pair.patients)))


def find_copied(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """One finding for each two groups, and one for what may be chance."""
    by_groups: dict[tuple[str, str], list[PatientPair]] = defaultdict(list)
    for pair in pairs:
        by_groups[tuple(pair.groups)].append(pair)
    for (a, b), own in by_groups.items():
        sure = [pair for pair in own if pair.is_sure]
        doubtful = [pair for pair in own if not pair.is_sure]
        for chosen, severity, code in (
            (sure, Severity.ERROR, "copies_between_groups"),
            (doubtful, Severity.WARNING, "single_copies_between_groups"),
        ):
            if not chosen:
                continue
            slices = len({copy.i for pair in chosen for copy in pair.copies})
            yield Finding(
                severity,
                code,
                f"{count(slices, 'image')} of {a} {'has' if slices == 1 else 'have'} copies in "
                f"{b}, of {count(len(chosen), 'pair')} of patients.",
                [str(pair) for pair in chosen],
                "Put both patients into one group, or leave one out: they look like one person."
                if severity is Severity.ERROR
                else "Look at the images below: one slice alone may be alike by chance.",
                {"groups": [a, b], "images": slices, "patient_pairs": len(chosen)},
            )


def find_copied_within(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """One finding for each group that has the same image for two patients."""
    by_group: dict[str, list[PatientPair]] = defaultdict(list)
    for pair in pairs:
        by_group[pair.groups[0]].append(pair)
    for group, own in by_group.items():
        yield Finding(
            Severity.WARNING,
            "copies_within_a_group",
            f"{group}: {count(sum(len(p.copies) for p in own), 'image')} the same as one of "
            "another patient, or twice.",
            [str(pair) for pair in own],
            "One person of two numbers, or files that were mixed up; they weigh twice.",
        )
