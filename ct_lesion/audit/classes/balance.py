"""Counts classes by group and measures their association with groups and origins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import random_table
from scipy.stats.contingency import association

from ..findings import Finding, NotChecked, Severity, count
from ..inputs.slices import AuditInput, all_slices, groups_of, person
from ..thresholds import (
    CRAMERS_V,
    FEWEST_CLASS_PATIENTS,
    LARGEST_IMBALANCE,
    P_VALUE,
    SHARE_DIFFERENCE,
)

RESAMPLES = 9999  # tables of the Monte-Carlo test


@dataclass(frozen=True)
class ClassCount:
    """Number of patients, scans and slices of a class in a group."""

    group: str
    label: str
    patients: int
    scans: int
    slices: int


@dataclass(frozen=True)
class Association:
    """Association of classes with groups, or with origins within a group.

    Attributes:
        with_what: ``group``, or ``origin within <group>``.
        labels: class names, the rows.
        columns: groups or origins.
        patients: number of patients, a row per class.
        cramers_v: effect size, 0 to 1.
        p_value: p-value of the test of independence, see :func:`independence_p_value`.
    """

    with_what: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    patients: tuple[tuple[int, ...], ...]
    cramers_v: float
    p_value: float


def count_classes(inputs: Sequence[AuditInput]) -> list[ClassCount]:
    """Count patients, scans and slices of each class in each group; skip unlabelled slices."""
    counts = []
    for group, members in groups_of(inputs).items():
        patients, scans, slices = (defaultdict(set) for _ in range(3))
        for dataset, s in all_slices(members):
            if s.label is not None:
                if s.patient is not None:
                    patients[s.label].add(person(dataset, s))
                scans[s.label].add((dataset.source, s.patient, s.scan))
                slices[s.label].add((dataset.source, s.key))
        counts += [
            ClassCount(group, label, len(patients[label]), len(scans[label]), len(slices[label]))
            for label in sorted(slices)
        ]
    return counts


def find_imbalance(counts: Sequence[ClassCount]) -> Iterator[Finding]:
    """Find groups with few patients of a class, or with unbalanced classes."""
    for group in dict.fromkeys(c.group for c in counts):
        classes = [c for c in counts if c.group == group and c.patients]
        if not classes:
            continue  # the patients are unknown
        few = [c for c in classes if c.patients < FEWEST_CLASS_PATIENTS]
        if few:
            yield Finding(
                Severity.WARNING,
                "few_patients_of_a_class",
                f"{group}: {count(len(few), 'class has', 'classes have')} fewer than "
                f"{FEWEST_CLASS_PATIENTS:g} patients.",
                [f"{c.label}: {count(c.patients, 'patient')}" for c in few],
                "Add patients: results for these classes are uncertain, however many slices there "
                "are.",
            )
        largest, smallest = (pick(classes, key=lambda c: c.patients) for pick in (max, min))
        if largest.patients > LARGEST_IMBALANCE * smallest.patients:
            yield Finding(
                Severity.WARNING,
                "unbalanced_classes",
                f"{group}: the classes are unbalanced: {largest.patients:,} patients of "
                f"{largest.label}, {smallest.patients:,} of {smallest.label}.",
                advice="Report results for each class, not only accuracy; sample the training "
                "slices by class.",
            )
        yield from _compare_shares(group, classes)


def _compare_shares(group: str, classes: Sequence[ClassCount]) -> Iterator[Finding]:
    """Compare each class's share of the patients with its share of the slices."""
    patients, slices = sum(c.patients for c in classes), sum(c.slices for c in classes)
    shares = {c.label: (c.patients / patients, c.slices / slices) for c in classes}
    if any(
        abs(of_patients - of_slices) > SHARE_DIFFERENCE
        for of_patients, of_slices in shares.values()
    ):
        yield Finding(
            Severity.NOTE,
            "slices_and_patients_disagree",
            f"{group}: the classes have other shares of the patients than of the slices.",
            [
                f"{label}: {100 * of_patients:.0f} % of patients, {100 * of_slices:.0f} % of slices"
                for label, (of_patients, of_slices) in shares.items()
            ],
            "Report metrics per patient too: metrics per slice give more weight to patients with "
            "many slices.",
        )


def associations(
    inputs: Sequence[AuditInput], seed: int = 0
) -> tuple[list[Association], list[NotChecked]]:
    """Measure the association of classes with groups, and with origins within each group.

    Args:
        inputs: inputs of all groups.
        seed: seed of the Monte-Carlo test.

    Returns:
        The associations, and the groups that could not be checked, with the reason.
    """
    # the keys of a dict: each patient once, in order
    patients = {
        (d.group, s.origin or d.source, person(d, s), s.label): None
        for d, s in all_slices(inputs)
        if s.label is not None and s.patient is not None
    }
    table = _associate("group", [(label, group) for group, _, _, label in patients], seed)
    measured, skipped = [table] if table else [], []
    for group in groups_of(inputs):
        pairs = [(label, origin) for g, origin, _, label in patients if g == group]
        table = _associate(f"origin within {group}", pairs, seed)
        if table:
            measured.append(table)
        elif pairs:
            why = "there is only one class"
            if len({origin for _, origin in pairs}) == 1:
                why = 'there is only one origin; records can name theirs in the field "source"'
            skipped.append(NotChecked(f"association of class and origin in {group}", why))
    return measured, skipped


def _associate(with_what: str, pairs: list[tuple[str, str]], seed: int) -> Association | None:
    """Measure the association of label and column; ``None`` with fewer than two of either.

    Args:
        pairs: label and column of each patient.
    """
    labels = tuple(dict.fromkeys(label for label, _ in pairs))
    columns = tuple(dict.fromkeys(column for _, column in pairs))
    if len(labels) < 2 or len(columns) < 2:
        return None
    table = np.zeros((len(labels), len(columns)), int)
    for label, column in pairs:
        table[labels.index(label), columns.index(column)] += 1
    return Association(
        with_what,
        labels,
        columns,
        tuple(map(tuple, table.tolist())),
        float(association(table, method="cramer")),
        independence_p_value(table, seed),
    )


def independence_p_value(table: np.ndarray, seed: int = 0) -> float:
    """Monte-Carlo p-value of Pearson's chi-square with both margins fixed.

    Also valid for few patients, where the chi-square distribution is not.

    Args:
        table: ``(rows, columns)`` counts; no row or column may sum to 0.
        seed: seed of the random tables.
    """
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    drawn = random_table(rows, columns, seed=seed).rvs(RESAMPLES)
    expected = np.outer(rows, columns) / table.sum()

    def chi_square(tables: np.ndarray) -> np.ndarray:
        return ((tables - expected) ** 2 / expected).sum(axis=(-2, -1))

    # rounding: equal tables may give sums that differ in the last digits
    extreme = (chi_square(drawn) >= chi_square(table) * (1 - 1e-9)).sum()
    return float((extreme + 1) / (RESAMPLES + 1))


def find_associations(measured: Sequence[Association]) -> Iterator[Finding]:
    """Find classes that are associated with groups or origins."""
    for table in measured:
        if table.cramers_v < CRAMERS_V or table.p_value >= P_VALUE:
            continue
        if table.with_what == "group":
            code = "class_goes_with_group"
            advice = (
                "Do not compare PPV, NPV or accuracy between groups: class frequencies affect them."
            )
        else:
            code = "class_goes_with_origin"
            advice = (
                "Take every class from every origin, or test on another origin: a model can learn "
                "the origin instead of the disease."
            )
        yield Finding(
            Severity.WARNING,
            code,
            f"The class is associated with the {table.with_what}: Cramér's V "
            f"{table.cramers_v:.2f}, p {table.p_value:.2g}.",
            [
                f"{label} patients: "
                + ", ".join(f"{n} in {c}" for n, c in zip(row, table.columns, strict=True))
                for label, row in zip(table.labels, table.patients, strict=True)
            ],
            advice,
        )
