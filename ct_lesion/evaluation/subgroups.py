"""Classification metrics of subgroups by a column of a metadata file, e.g. scanner or sex.

Shapes: M slices, C classes.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import UserError
from ct_lesion.folders import check_regular

from .aggregation import scan_units
from .classification_intervals import classification_intervals
from .patient_bootstrap import RESAMPLES, Interval

KEYS = ("file", "scan", "patient")
UNKNOWN = "unknown"
SUBGROUP_METRICS = ("sensitivity", "specificity", "AUC")


class MetadataError(UserError):
    """The metadata file cannot be used."""


@dataclass(frozen=True)
class Metadata:
    """A column of a metadata file.

    Attributes:
        path: the file, for messages.
        key: which of ``KEYS`` identifies the rows: slices, scans or patients.
        column: name of the column.
        values: values of the column by key; rows without a key or value are left out.
    """

    path: Path
    key: str
    column: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Subgroup:
    """The slices with the same value of a column.

    Attributes:
        name: the value, or "unknown".
        slices, patients: number of slices and patients.
        metrics: "accuracy", then "sensitivity/<class>", "specificity/<class>" and "AUC/<class>",
            as fractions, with bootstrap intervals over patients.
        warning: why metrics are missing or unreliable; empty without a warning.
    """

    name: str
    slices: int
    patients: int
    metrics: dict[str, Interval]
    warning: str


def read_metadata(path: str | Path, column: str) -> Metadata:
    """Read a column of a CSV file (comma-separated, with headings, UTF-8).

    Each row describes a slice, scan or patient, identified by the first of the columns ``file``,
    ``scan`` and ``patient`` that exists; see :func:`subgroup_names` for the matching.

    Raises:
        MetadataError: the file cannot be read, is not CSV, lacks a column, or has several values
            for the same key.
    """
    path = Path(path)
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except OSError as error:
        why = error.strerror or error
        raise MetadataError(f"{path} cannot be read ({why}). Check the path.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise MetadataError(
            f"{path} is not a CSV file in UTF-8 ({error}). Save it as comma-separated UTF-8."
        ) from None
    headings, rows = (lines[0], lines[1:]) if lines else ([], [])
    key = next((name for name in KEYS if name in headings), None)
    columns = f"its columns are: {', '.join(headings) or 'none'}"
    if key is None:
        raise MetadataError(
            f"{path} has no column file, scan or patient; {columns}. Add a column that names the "
            "slices, scans or patients."
        )
    if column not in headings:
        raise MetadataError(f"{path} has no column {column}; {columns}. Name one of them.")
    values: dict[str, str] = {}
    for row in rows:
        cells = dict(zip(headings, row, strict=False))  # rows may be short
        name, value = cells.get(key), cells.get(column)
        if name and value and values.setdefault(name, value) != value:
            both = f"{values[name]} and {value}"
            raise MetadataError(
                f"{path}: {key} {name} has several values of {column}: {both}. Keep one."
            )
    return Metadata(path, key, column, values)


def subgroup_names(
    metadata: Metadata, files: Sequence[str], scans: Sequence[str], patients: Sequence[str]
) -> np.ndarray:
    """The value of the column for each slice, (M,) text; "unknown" for slices without metadata.

    A ``patient`` is a patient's id. A ``scan`` is "<patient>/<scan>", or the scan id alone if only
    one patient has it. A ``file`` is a slice's path or its last parts, e.g. "NCP_1_2_3.png" or
    "12/0.png", if no other slice's path ends like this.

    Args:
        metadata: the result of :func:`read_metadata`.
        files, scans, patients: (M,) of the slices.

    Raises:
        MetadataError: no slice has metadata, or a key matches several slices or scans of several
            patients.
    """
    if metadata.key == "patient":
        candidates = [(str(patient),) for patient in patients]
        owners = patients
    elif metadata.key == "scan":
        owners = scan_units(patients, scans)
        candidates = [(unit, str(scan)) for unit, scan in zip(owners, scans, strict=True)]
    else:
        candidates = [_endings(str(file)) for file in files]
        owners = files
    owner_of: dict[str, str] = {}
    names = []
    for owner, keys in zip(owners, candidates, strict=True):
        found = next((key for key in keys if key in metadata.values), None)
        if found is not None and owner_of.setdefault(found, owner) != owner:
            raise MetadataError(
                f"{metadata.path}: {metadata.key} {found} is ambiguous, it matches e.g. "
                f"{owner_of[found]} and {owner}. Use a longer name."
            )
        names.append(UNKNOWN if found is None else metadata.values[found])
    if not owner_of:
        example = next(iter(metadata.values), "nothing")
        seen = candidates[0][0] if candidates else "nothing"
        raise MetadataError(
            f"{metadata.path} matches none of the {len(names)} slices: its column {metadata.key} "
            f"has e.g. {example}, the run e.g. {seen}. Use the run's names."
        )
    return np.array(names, dtype=str)


def subgroup_metrics(
    labels: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    patients: Sequence[str] | np.ndarray,
    groups: Sequence[str] | np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Subgroup]:
    """Metrics of each subgroup, sorted: numeric values, then texts, then "unknown".

    Args:
        labels: (M,) true classes.
        logits: (M, C).
        class_names: C names.
        patients: (M,) the patient of each slice.
        groups: (M,) from :func:`subgroup_names`.
        resamples, seed: see :func:`~ct_lesion.evaluation.patient_bootstrap.bootstrap_intervals`.
    """
    labels, logits, patients, groups = map(np.asarray, (labels, logits, patients, groups))
    result = []
    for name in sorted(np.unique(groups).tolist(), key=_order):
        members = groups == name
        metrics = classification_intervals(
            labels[members],
            logits[members],
            class_names,
            patients[members],
            metrics=SUBGROUP_METRICS,
            resamples=resamples,
            seed=seed,
        )
        count = len(np.unique(patients[members]))
        warning = _warning(labels[members], class_names, count)
        result.append(Subgroup(name, int(members.sum()), count, metrics, warning))
    return result


def _endings(file: str) -> tuple[str, ...]:
    """A path and what follows each of its slashes, the longest first."""
    parts = file.split("/")
    return tuple("/".join(parts[start:]) for start in range(len(parts)))


def _order(name: str) -> tuple[bool, bool, float, str]:
    try:
        number = float(name)
    except ValueError:
        return name == UNKNOWN, True, 0.0, name
    return False, False, number, name


def _warning(labels: np.ndarray, class_names: Sequence[str], patients: int) -> str:
    parts = []
    classes = np.unique(labels)
    if len(classes) == 1:
        parts.append(
            f"only {class_names[classes[0]]} slices, so most metrics are undefined and the "
            "accuracy is the sensitivity of that class"
        )
    if patients < 2:
        parts.append("only one patient, so no intervals")
    return "; ".join(parts)
