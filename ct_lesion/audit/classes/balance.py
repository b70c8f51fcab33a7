"""Classes by group and by origin, counted in patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import random_table
from scipy.stats.contingency import association

from ..findings import Finding, NotChecked, Severity, count
from ..inputs.slices import AuditInput, all_slices, groups_of
from ..thresholds import (
    CRAMERS_V,
    FEWEST_CLASS_PATIENTS,
    LARGEST_IMBALANCE,
    P_VALUE,
    SHARE_DIFFERENCE,
)

RESAMPLES = 9999


@dataclass(frozen=True)
class ClassCount:
    """How much of a class is in a group."""

    group: str
    label: str
    patients: int
    scans: int
    slices: int


@dataclass(frozen=True)
class Association:
    """Whether classes go with something else.

    Attributes:
        with_what: ``group``, or ``origin`` within a group.
        patients: by class and by group or origin.
        cramers_v: 0 (none) to 1.
        p_value: of a table of the same margins at least as far from independence.
    """

    with_what: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    patients: tuple[tuple[int, ...], ...]
    cramers_v: float
    p_value: float


def count_classes(inputs: Sequence[AuditInput]) -> list[ClassCount]:
    """Patients, scans and slices of each class in each group; unlabelled slices are left out."""
    counts = []
    for group, members in groups_of(inputs).items():
        people, scans, slices = (defaultdict(set) for _ in range(3))
        for one, s in all_slices(members):
            if s.label is not None:
                if s.patient is not None:
                    people[s.label].add((one.source, s.patient))
                scans[s.label].add((one.source, s.patient, s.scan))
                slices[s.label].add((one.source, s.key))
        counts += [
            ClassCount(group, label, len(people[label]), len(scans[label]), len(slices[label]))
            for label in sorted(slices)
        ]
    return counts


def find_imbalance(counts: Sequence[ClassCount]) -> Iterator[Finding]:
    """Classes of a group that are too small, or much smaller than another."""
    for group in dict.fromkeys(c.group for c in counts):
        own = [c for c in counts if c.group == group and c.patients]
        if not own:
            continue  # nobody says whose slices these are
        few = [c for c in own if c.patients < FEWEST_CLASS_PATIENTS]
        if few:
            yield Finding(
                Severity.WARNING,
                "few_patients_of_a_class",
                f"{group}: {count(len(few), 'class', 'classes')} of fewer than "
                f"{FEWEST_CLASS_PATIENTS} patients.",
                [f"{c.label}: {count(c.patients, 'patient')}" for c in few],
                "However many slices there are, results by class rest on these people.",
            )
        largest, smallest = (pick(own, key=lambda c: c.patients) for pick in (max, min))
        if largest.patients > LARGEST_IMBALANCE * smallest.patients:
            yield Finding(
                Severity.WARNING,
                "unbalanced_classes",
                f"{group}: {largest.patients:,} patients of {largest.label}, "
                f"{smallest.patients:,} of {smallest.label}.",
                advice="Report results by class, not accuracy alone; sample training by class.",
            )
        yield from _slices_against_patients(group, own)


def _slices_against_patients(group: str, own: Sequence[ClassCount]) -> Iterator[Finding]:
    """A class that is rare among patients and frequent among slices, or the other way round."""
    patients, slices = sum(c.patients for c in own), sum(c.slices for c in own)
    if any(abs(c.patients / patients - c.slices / slices) > SHARE_DIFFERENCE for c in own):
        yield Finding(
            Severity.NOTE,
            "slices_and_patients_disagree",
            f"{group}: classes have another share of the slices than of the patients.",
            [
                f"{c.label}: {100 * c.patients / patients:.0f} % of patients, "
                f"{100 * c.slices / slices:.0f} % of slices"
                for c in own
            ],
            "Metrics by slice weigh patients with many slices more; report them by patient too.",
        )


def associations(
    inputs: Sequence[AuditInput], seed: int = 0
) -> tuple[list[Association], list[NotChecked]]:
    """Classes against groups, and against origins within each group that has several."""
    found, skipped = [], []
    people = _people(inputs)
    table = _associate("group", [(label, group) for group, _, _, label in people], seed)
    found += [table] if table else []
    for group in groups_of(inputs):
        own = [(label, origin) for g, origin, _, label in people if g == group]
        table = _associate(f"origin within {group}", own, seed)
        if table:
            found.append(table)
        elif own:
            why = "one origin only; records may name theirs in a field source"
            skipped.append(NotChecked(f"classes of {group} by origin", why))
    return found, skipped


def _people(inputs: Sequence[AuditInput]) -> list[tuple[str, str, str, str]]:
    """Group, origin, patient and class of everybody, once each."""
    people = {
        (one.group, s.origin or one.source, f"{one.source}/{s.patient}", s.label): None
        for one, s in all_slices(inputs)
        if s.label is not None and s.patient is not None
    }
    return list(people)


def _associate(with_what: str, pairs: list[tuple[str, str]], seed: int) -> Association | None:
    labels, columns = (
        (tuple(dict.fromkeys(side)) for side in zip(*pairs, strict=True)) if pairs else ((), ())
    )
    if len(labels) < 2 or len(columns) < 2:
        return None
    table = np.zeros((len(labels), len(columns)), int)
    for label, column in pairs:
        table[labels.index(label), columns.index(column)] += 1
    return Association(
        with_what,
        labels,
        columns,
        tuple(tuple(int(n) for n in row) for row in table),
        float(association(table, method="cramer")),
        independence_p_value(table, seed),
    )


def independence_p_value(table: np.ndarray, seed: int = 0) -> float:
    """Monte-Carlo p-value of Pearson's chi-square with both margins fixed.

    Right for tables of few patients too, where the chi-square distribution is not.

    Args:
        table: ``(rows, columns)`` counts, no margin of 0.
    """
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    drawn = random_table(rows, columns, seed=seed).rvs(RESAMPLES)
    expected = np.outer(rows, columns) / table.sum()

    def chi_square(tables: np.ndarray) -> np.ndarray:
        return ((tables - expected) ** 2 / expected).sum(axis=(-2, -1))

    # equal tables differ in the last digits of the sum
    extreme = (chi_square(drawn) >= chi_square(table) * (1 - 1e-9)).sum()
    return float((extreme + 1) / (RESAMPLES + 1))


def find_associations(found: Sequence[Association]) -> Iterator[Finding]:
    """Classes that go with groups or origins."""
    for one in found:
        if one.cramers_v < CRAMERS_V or one.p_value >= P_VALUE:
            continue
        with_origin = one.with_what != "group"
        yield Finding(
            Severity.WARNING,
            "class_goes_with_origin" if with_origin else "class_goes_with_group",
            f"Classes go with {one.with_what}: Cramér's V {one.cramers_v:.2f}, "
            f"p {one.p_value:.2g}.",
            [
                f"{label}: " + ", ".join(f"{n} {c}" for n, c in zip(row, one.columns, strict=True))
                for label, row in zip(one.labels, one.patients, strict=True)
            ],
            "A model can tell the class from the origin: take every class from every origin, or "
            "test on another origin."
            if with_origin
            else "The groups have other class frequencies: PPV and accuracy do not carry over.",
        )
