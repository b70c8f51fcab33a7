"""Groups copies of images by pairs of patients and reports them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..findings import Finding, Severity, count
from ..images.checks import SliceImage
from ..inputs.slices import groups_of, person
from ..thresholds import FEWEST_NEAR_COPIES
from .search import NEAR, Copy, find_copies


@dataclass(frozen=True)
class PatientPair:
    """Two patients with images in common; slices without a patient count as one patient an input.

    Attributes:
        inputs: names of the patients' inputs.
        patients: their ids; ``None`` if unknown.
        groups: their groups.
        copies: links between their images, exact copies first.
    """

    inputs: tuple[str, str]
    patients: tuple[str | None, str | None]
    groups: tuple[str, str]
    copies: tuple[Copy, ...]

    @property
    def exact(self) -> int:
        """Number of links between images with the same bytes or pixels."""
        return sum(copy.kind != NEAR for copy in self.copies)

    @property
    def is_sure(self) -> bool:
        """Whether coincidence can be excluded: an exact copy, or several near copies."""
        return self.exact > 0 or len(self.copies) >= FEWEST_NEAR_COPIES

    def __str__(self) -> str:
        a, b = (
            f"an unknown patient of {name}" if patient is None else f"patient {patient} of {name}"
            for patient, name in zip(self.patients, self.inputs, strict=True)
        )
        near = len(self.copies) - self.exact
        kinds = [count(self.exact, "identical image")] if self.exact else []
        kinds += [count(near, "near copy", "near copies")] if near else []
        return f"{a} looks like {b}: {' and '.join(kinds)}"

    def as_dict(self, images: Sequence[SliceImage]) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            images: the images that the links refer to by index.
        """
        return {
            "inputs": list(self.inputs),
            "patients": list(self.patients),
            "groups": list(self.groups),
            "slices": [
                {
                    "a": images[copy.i].slice.key,
                    "b": images[copy.j].slice.key,
                    "kind": copy.kind,
                    "orientation": copy.orientation,
                    "similarity": round(copy.similarity, 4),
                }
                for copy in self.copies
            ],
        }


def search_between_groups(images: Sequence[SliceImage]) -> list[PatientPair]:
    """Find patients of different groups with images in common, sorted by number of copies."""
    links = find_copies([s.facts for s in images], [s.dataset.group for s in images])
    return _pair_patients(images, links)


def search_within_groups(images: Sequence[SliceImage]) -> list[PatientPair]:
    """Find patients of the same group with identical images, sorted by number of copies."""
    # each slice without a patient counts as a patient here
    patients = [
        person(s.dataset, s.slice) or (s.dataset.name, f"slice {s.slice.key}") for s in images
    ]
    copies = []
    for group in groups_of([s.dataset for s in images]):
        members = [index for index, s in enumerate(images) if s.dataset.group == group]
        links = find_copies(
            [images[i].facts for i in members], [patients[i] for i in members], near=False
        )
        for link in links:
            ends = sorted((members[link.i], members[link.j]), key=lambda index: patients[index])
            copies.append(Copy(*ends, link.kind))
    return _pair_patients(images, copies)


def _pair_patients(images: Sequence[SliceImage], links: Sequence[Copy]) -> list[PatientPair]:
    by_patients: dict[tuple, list[Copy]] = defaultdict(list)
    for link in links:
        a, b = images[link.i], images[link.j]
        inputs, patients = (a.dataset.name, b.dataset.name), (a.slice.patient, b.slice.patient)
        by_patients[inputs, patients, (a.dataset.group, b.dataset.group)].append(link)
    pairs = [
        PatientPair(*key, tuple(sorted(copies, key=lambda c: (c.kind == NEAR, -c.similarity, c.i))))
        for key, copies in by_patients.items()
    ]
    return sorted(pairs, key=lambda pair: (-len(pair.copies), pair.inputs, str(pair.patients)))


def find_copied(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """Report, for each pair of groups, the certain copies and those that may be coincidence."""
    by_groups: dict[tuple[str, str, bool], list[PatientPair]] = defaultdict(list)
    for pair in sorted(pairs, key=lambda pair: not pair.is_sure):
        by_groups[(*pair.groups, pair.is_sure)].append(pair)
    for (a, b, is_sure), members in by_groups.items():
        images = count(len({copy.i for pair in members for copy in pair.copies}), "image")
        number = count(len(members), "pair")
        where = [str(pair) for pair in members]
        if is_sure:
            what = f"{a} and {b} have {images} in common ({number} of patients)."
            advice = (
                "Put both patients into one group, or remove one: they are probably one person."
            )
            yield Finding(Severity.ERROR, "copies_between_groups", what, where, advice)
        else:
            what = f"{a} and {b} may have {images} in common ({number} of patients)."
            advice = "Compare the images under Copies of images: one near copy may be coincidence."
            yield Finding(Severity.WARNING, "single_copies_between_groups", what, where, advice)


def find_copied_within(pairs: Sequence[PatientPair]) -> Iterator[Finding]:
    """Report for each group the identical images of different patients."""
    by_group: dict[str, list[PatientPair]] = defaultdict(list)
    for pair in pairs:
        by_group[pair.groups[0]].append(pair)
    for group, members in by_group.items():
        number = count(sum(len(pair.copies) for pair in members), "image is", "images are")
        yield Finding(
            Severity.WARNING,
            "copies_within_a_group",
            f"{group}: {number} identical to an image of another or an unknown patient.",
            [str(pair) for pair in members],
            "Remove the repetitions: one person may have two ids, or files were mixed up.",
        )
