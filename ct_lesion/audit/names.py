"""A patient, scan, slice or file in two groups, by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

from ct_lesion.data.datasets.splits import shared_between

from .findings import Finding, NotChecked, Severity, count
from .inputs.slices import (
    CLASS_SOURCE,
    LESION_SOURCE,
    AuditInput,
    AuditSlice,
    all_slices,
    groups_of,
    person,
)

_ADVICE = {
    "patient": "Put all slices of a patient into one group.",
    "scan": "Put all slices of a scan into one group.",
    "slice": "Take it off one of the groups.",
    "file": "Take it off one of the groups.",
}
Key = tuple[str, ...]


def find_shared(inputs: Sequence[AuditInput], same_numbers: bool = False) -> list[Finding]:
    """Everything that is in two groups, and slices that stand twice in one.

    Patients are compared within a source only: patient 12 of two hospitals is two people.

    Args:
        same_numbers: all inputs number patients alike.
    """
    findings = []
    for what, key_of in _keys(same_numbers).items():
        findings += _shared_between_groups(inputs, what, key_of)
    findings += _repeated_within(inputs, same_numbers)
    if not same_numbers:
        findings += _same_numbers_elsewhere(inputs)
    return findings


def find_not_comparable(inputs: Sequence[AuditInput], same_numbers: bool) -> list[NotChecked]:
    """Groups whose patients have different numbers, so that only images can tell."""
    if same_numbers:
        return []
    groups: dict[str, list[str]] = {}
    for one in inputs:
        own = groups.setdefault(one.source, [])
        if one.group not in own:
            own.append(one.group)
    return [
        NotChecked(
            f"patients of {', '.join(own)} in {', '.join(others)}, by number",
            f"{source} and {other} number them differently: only a comparison of images can tell",
        )
        for (source, own), (other, others) in combinations(groups.items(), 2)
        if len({*own, *others}) > 1
    ]


def _keys(same_numbers: bool) -> dict[str, Callable[[AuditInput, AuditSlice], Key | None]]:
    def source(one: AuditInput) -> str:
        return "" if same_numbers else one.source

    def patient(one: AuditInput, s: AuditSlice) -> Key | None:
        return None if s.patient is None else (source(one), s.patient)

    def scan(one: AuditInput, s: AuditSlice) -> Key | None:
        # where a patient has one scan of the same name, it is the patient again
        known = s.patient is not None and s.scan is not None and s.scan != s.patient
        return (source(one), s.patient, s.scan) if known else None

    def ct_slice(one: AuditInput, s: AuditSlice) -> Key | None:
        return (source(one), s.key)

    def file(one: AuditInput, s: AuditSlice) -> Key | None:
        return None if s.image is None else (str(s.image.resolve()),)

    return {"patient": patient, "scan": scan, "slice": ct_slice, "file": file}


def _shared_between_groups(
    inputs: Sequence[AuditInput],
    what: str,
    key_of: Callable[[AuditInput, AuditSlice], Key | None],
) -> Iterator[Finding]:
    held: dict[str, dict[Key, int]] = {group: defaultdict(int) for group in groups_of(inputs)}
    for one, ct_slice in all_slices(inputs):
        key = key_of(one, ct_slice)
        if key is not None:
            held[one.group][key] += 1
    for a, b, both in shared_between(held):
        own, others = held[a], held[b]
        yield Finding(
            Severity.ERROR,
            f"{what}_in_two_groups",
            f"{count(len(both), what)} {'is' if len(both) == 1 else 'are'} in {a} and in {b} "
            f"({count(sum(own[k] for k in both), 'slice')} and "
            f"{count(sum(others[k] for k in both), 'slice')}).",
            [
                f"{' / '.join(key[1:] or key)}: {own[key]} in {a}, {others[key]} in {b}"
                for key in both
            ],
            _ADVICE[what],
            {"groups": [a, b], "of": [len(own), len(others)], "shared": len(both)},
        )


def _repeated_within(inputs: Sequence[AuditInput], same_numbers: bool) -> Iterator[Finding]:
    """Slices that stand twice in a group: harmless for leaks, but they weigh twice."""
    key_of = _keys(same_numbers)["slice"]
    for group, members in groups_of(inputs).items():
        places: dict[Key, list[str]] = defaultdict(list)
        for one, ct_slice in all_slices(members):
            places[key_of(one, ct_slice)].append(one.name)
        again = {key[-1]: names for key, names in places.items() if len(names) > 1}
        once_each = all(len(set(names)) == len(names) for names in again.values())
        if again:
            yield Finding(
                Severity.NOTE if once_each else Severity.WARNING,
                "slice_twice_in_a_group",
                f"{group}: {count(len(again), 'slice')} more than once"
                + (", each once in an input." if once_each else " in an input."),
                [f"{key}: {', '.join(names)}" for key, names in again.items()],
                "They weigh more than once in training and in results."
                if not once_each
                else "Right for a sample of a longer list; else they weigh twice.",
            )


def _same_numbers_elsewhere(inputs: Sequence[AuditInput]) -> Iterator[Finding]:
    """Patients of the same number in two groups, but of two sources: other people, or the same."""
    held: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one, ct_slice in all_slices(inputs):
        if ct_slice.patient is not None:
            held[one.group, one.source].add(ct_slice.patient)
    for (a, source), (b, other), both in shared_between(held):
        if a == b or source == other:
            continue
        known_apart = {source, other} == {LESION_SOURCE, CLASS_SOURCE}
        yield Finding(
            Severity.NOTE if known_apart else Severity.WARNING,
            "same_numbers_of_two_sources",
            f"{count(len(both), 'patient number')} of {a} ({source}) "
            f"{'is' if len(both) == 1 else 'are'} in {b} ({other}) as well. "
            + ("These sources number patients on their own." if known_apart else "")
            + ("" if known_apart else "They were not taken as the same people."),
            both,
            "" if known_apart else "Give --same-numbers if a number is one person in all inputs.",
        )


def find_labels_that_differ(inputs: Sequence[AuditInput]) -> Iterator[Finding]:
    """Patients with slices of several classes, and slices that two inputs label differently."""
    of_patient: dict[Key, set[str]] = defaultdict(set)
    of_slice: dict[Key, set[str]] = defaultdict(set)
    for one, ct_slice in all_slices(inputs):
        if ct_slice.label is None:
            continue
        of_slice[one.source, ct_slice.key].add(ct_slice.label)
        who = person(one, ct_slice)
        if who:
            of_patient[who].add(ct_slice.label)
    both = {key: labels for key, labels in of_slice.items() if len(labels) > 1}
    if both:
        yield Finding(
            Severity.ERROR,
            "labels_that_differ",
            f"{count(len(both), 'slice')} of two classes.",
            [f"{key[-1]}: {', '.join(sorted(labels))}" for key, labels in both.items()],
            "Only one of them can be right.",
        )
    several = {key: labels for key, labels in of_patient.items() if len(labels) > 1}
    if several:
        yield Finding(
            Severity.NOTE,
            "patient_of_several_classes",
            f"{count(len(several), 'patient')} with slices of several classes.",
            [f"{key[-1]}: {', '.join(sorted(labels))}" for key, labels in several.items()],
            "Possible for scans of different dates; else a class is wrong.",
        )
