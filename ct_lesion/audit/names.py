"""Finds patients, scans, slices and files that are in two groups, by comparing names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
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

Key = tuple[str, ...]
KeyFunction = Callable[[AuditInput, AuditSlice], Key | None]

_ADVICE = {
    "patient": "Put all slices of a patient into one group.",
    "scan": "Put all slices of a scan into one group.",
    "slice": "Keep each slice in one group only.",
    "file": "Keep each file in one group only.",
}


def find_shared(inputs: Sequence[AuditInput], same_numbers: bool = False) -> list[Finding]:
    """Find what two groups have in common, and slices that a group contains twice.

    Patients are compared within a source only: patient 12 of two hospitals is two people.

    Args:
        inputs: inputs of all groups.
        same_numbers: a patient id means the same person in all inputs.
    """
    keys = _keys(same_numbers)
    findings = [f for what, key_of in keys.items() for f in _shared(inputs, what, key_of)]
    findings += _repeated(inputs, keys["slice"])
    if not same_numbers:
        findings += _same_numbers_elsewhere(inputs)
    return findings


def find_not_comparable(inputs: Sequence[AuditInput], same_numbers: bool) -> list[NotChecked]:
    """List groups from different sources: patient ids cannot match their patients, images can."""
    if same_numbers:
        return []
    groups: dict[str, dict[str, None]] = defaultdict(dict)
    for dataset in inputs:
        groups[dataset.source][dataset.group] = None
    return [
        NotChecked(
            f"patient numbers of {' and '.join(first)} against {' and '.join(second)}",
            f"{source} and {other} number patients differently; only images can be compared",
        )
        for (source, first), (other, second) in combinations(groups.items(), 2)
        if len({*first, *second}) > 1
    ]


def _keys(same_numbers: bool) -> dict[str, KeyFunction]:
    """Make the functions that identify a slice's patient, scan, key and file across inputs."""

    def source(dataset: AuditInput) -> str:
        return "" if same_numbers else dataset.source

    def patient(dataset: AuditInput, s: AuditSlice) -> Key | None:
        return None if s.patient is None else (source(dataset), s.patient)

    def scan(dataset: AuditInput, s: AuditSlice) -> Key | None:
        # a scan with its patient's name is the patient's only scan: the patient is reported
        known = s.patient is not None and s.scan is not None and s.scan != s.patient
        return (source(dataset), s.patient, s.scan) if known else None

    def ct_slice(dataset: AuditInput, s: AuditSlice) -> Key | None:
        return source(dataset), s.key

    def file(_: AuditInput, s: AuditSlice) -> Key | None:
        return None if s.image is None else (str(s.image.resolve()),)

    return {"patient": patient, "scan": scan, "slice": ct_slice, "file": file}


def _shared(inputs: Sequence[AuditInput], what: str, key_of: KeyFunction) -> Iterator[Finding]:
    """Yield a finding for each pair of groups with a patient, scan, slice or file in common."""
    slices: dict[str, dict[Key, int]] = {group: defaultdict(int) for group in groups_of(inputs)}
    for dataset, ct_slice in all_slices(inputs):
        key = key_of(dataset, ct_slice)
        if key is not None:
            slices[dataset.group][key] += 1
    for a, b, both in shared_between(slices):
        in_a, in_b = slices[a], slices[b]
        number = count(len(both), f"{what} is", f"{what}s are")
        slices_of_both = ""
        if what in ("patient", "scan"):
            a_slices, b_slices = sum(in_a[k] for k in both), sum(in_b[k] for k in both)
            slices_of_both = f" (slices: {a_slices:,} in {a}, {b_slices:,} in {b})"
        yield Finding(
            Severity.ERROR,
            f"{what}_in_two_groups",
            f"{number} in both {a} and {b}{slices_of_both}.",
            [f"{' / '.join(k[1:] or k)}: {in_a[k]} in {a}, {in_b[k]} in {b}" for k in both],
            _ADVICE[what],
        )


def _repeated(inputs: Sequence[AuditInput], key_of: KeyFunction) -> Iterator[Finding]:
    """Find slices that a group contains twice: not a leak, but they count twice."""
    for group, members in groups_of(inputs).items():
        places: dict[Key, list[str]] = defaultdict(list)
        for dataset, ct_slice in all_slices(members):
            places[key_of(dataset, ct_slice)].append(dataset.name)
        repeated = {key[-1]: names for key, names in places.items() if len(names) > 1}
        if not repeated:
            continue
        in_one_input = any(len(set(names)) < len(names) for names in repeated.values())
        yield Finding(
            Severity.WARNING if in_one_input else Severity.NOTE,
            "slice_twice_in_a_group",
            f"{group}: {count(len(repeated), 'slice is', 'slices are')} repeated "
            + ("within an input." if in_one_input else "in several inputs."),
            [f"{key}: {', '.join(names)}" for key, names in repeated.items()],
            "Remove the repetitions: they get more weight in training and in results."
            if in_one_input
            else "Expected if one list is a sample of another; otherwise these slices count twice.",
        )


def _same_numbers_elsewhere(inputs: Sequence[AuditInput]) -> Iterator[Finding]:
    """Find patient ids that occur in two groups from different sources."""
    patients: dict[tuple[str, str], set[str]] = defaultdict(set)
    for dataset, ct_slice in all_slices(inputs):
        if ct_slice.patient is not None:
            patients[dataset.group, dataset.source].add(ct_slice.patient)
    for (a, source), (b, other), both in shared_between(patients):
        if a == b or source == other:
            continue
        number = count(len(both), "patient number is", "patient numbers are")
        what = (
            f"{number} in both {a} and {b}, counted as different people because the sources "
            f"differ: {source} and {other}."
        )
        code = "same_numbers_of_two_sources"
        if {source, other} == {LESION_SOURCE, CLASS_SOURCE}:
            # known to number their patients independently
            yield Finding(Severity.NOTE, code, what, both)
        else:
            advice = "Give --same-numbers if a number means the same person in all inputs."
            yield Finding(Severity.WARNING, code, what, both, advice)


def find_label_conflicts(inputs: Sequence[AuditInput]) -> Iterator[Finding]:
    """Find slices with two labels, and patients whose slices have several classes."""
    of_patient: dict[Key, set[str]] = defaultdict(set)
    of_slice: dict[Key, set[str]] = defaultdict(set)
    for dataset, ct_slice in all_slices(inputs):
        if ct_slice.label is None:
            continue
        of_slice[dataset.source, ct_slice.key].add(ct_slice.label)
        patient = person(dataset, ct_slice)
        if patient:
            of_patient[patient].add(ct_slice.label)
    slices, patients = _several(of_slice), _several(of_patient)
    if slices:
        what = f"{count(len(slices), 'slice has', 'slices have')} two classes."
        advice = "Correct the labels: a slice can have only one class."
        yield Finding(Severity.ERROR, "labels_that_differ", what, slices, advice)
    if patients:
        what = f"{count(len(patients), 'patient has', 'patients have')} slices of several classes."
        advice = "Possible if the scans are of different dates; otherwise correct the labels."
        yield Finding(Severity.NOTE, "patient_of_several_classes", what, patients, advice)


def _several(labels: Mapping[Key, set[str]]) -> list[str]:
    """List ``<key>: <labels>`` for each key with more than one label."""
    return [
        f"{key[-1]}: {', '.join(sorted(names))}" for key, names in labels.items() if len(names) > 1
    ]
