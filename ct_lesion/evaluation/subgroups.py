"""Classification metrics by any column of a metadata file, e.g. by scanner or by sex.

Shapes: M slices, C classes.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import UserError

from .aggregation import scan_units
from .classification_intervals import classification_intervals
from .patient_bootstrap import CONFIDENCE, RESAMPLES, Interval

KEYS = ("file", "scan", "patient")
UNKNOWN = "unknown"
SUBGROUP_METRICS = ("sensitivity", "specificity", "AUC")


class MetadataError(UserError):
    """A metadata file that cannot be used; one clear line."""


@dataclass(frozen=True)
class Metadata:
    """A column of a metadata file.

    Attributes:
        path: of the file, for messages.
        key: which column of ``KEYS`` says what a line is about.
        column: the wanted one.
        values: the column's text by key; lines without key or value are left out.
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
        slices, patients: how many.
        metrics: "accuracy", then "sensitivity/<class>", "specificity/<class>" and "AUC/<class>",
            as fractions, with bootstrap intervals over patients.
        warning: why numbers are missing or weak; empty if nothing is to be said.
    """

    name: str
    slices: int
    patients: int
    metrics: dict[str, Interval]
    warning: str


def read_metadata(path: str | Path, column: str) -> Metadata:
    """Read a column of a CSV file (comma-separated, with headings, UTF-8).

    Its lines are about slices, scans or patients: the first of the columns ``file``, ``scan`` and
    ``patient`` that it has says about which. How the keys are matched is told at
    :func:`subgroup_names`.

    Raises:
        MetadataError: no such file, no CSV, a missing column, or a key with different values.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [[cell.strip() for cell in line] for line in csv.reader(file)]
    except OSError as error:
        raise MetadataError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise MetadataError(f"{path}: is no CSV file in UTF-8 ({error}).") from None
    headings, rows = (lines[0], lines[1:]) if lines else ([], [])
    key = next((name for name in KEYS if name in headings), None)
    there = f"its columns are: {', '.join(headings) or 'none'}"
    if key is None:
        raise MetadataError(f"{path}: needs a column file, scan or patient; {there}.")
    if column not in headings:
        raise MetadataError(f"{path}: has no column {column}; {there}.")
    values: dict[str, str] = {}
    for row in rows:
        cells = dict(zip(headings, row, strict=False))  # a line may be short
        name, value = cells.get(key), cells.get(column)
        if name and value and values.setdefault(name, value) != value:
            both = f"{values[name]} and {value}"
            raise MetadataError(f"{path}: {key} {name} has different values of {column}: {both}.")
    return Metadata(path, key, column, values)


def subgroup_names(
    metadata: Metadata, files: Sequence[str], scans: Sequence[str], patients: Sequence[str]
) -> np.ndarray:
    """The value of each slice, (M,) text, "unknown" for slices without metadata.

    A ``patient`` is matched as it is. A ``scan`` is "<patient>/<scan>", or a scan id alone if only
    one patient has it. A ``file`` is the whole path of a slice, or its end, e.g. "NCP_1_2_3.png" or
    "12/0.png", if only one slice ends so.

    Args:
        files, scans, patients: (M,) of the slices.

    Raises:
        MetadataError: no slice has metadata, or a key fits scans of several patients or several
            slices.
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
                f"{metadata.path}: {metadata.key} {found} fits several, e.g. {owner_of[found]} "
                f"and {owner}; write more of it."
            )
        names.append(UNKNOWN if found is None else metadata.values[found])
    if not owner_of:
        example = next(iter(metadata.values), "nothing")
        seen = candidates[0][0] if candidates else "nothing"
        raise MetadataError(
            f"{metadata.path}: says nothing about any of the {len(names)} slices; its column "
            f"{metadata.key} has e.g. {example}, the run has e.g. {seen}."
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
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> list[Subgroup]:
    """Metrics of each subgroup; numbers in order, then text in order, "unknown" last.

    Args:
        labels: (M,) true classes.
        logits: (M, C).
        patients, groups: (M,); the groups by :func:`subgroup_names`.
    """
    labels, logits, patients, groups = map(np.asarray, (labels, logits, patients, groups))
    result = []
    for name in sorted(np.unique(groups).tolist(), key=_order):
        own = groups == name
        metrics = classification_intervals(
            labels[own],
            logits[own],
            class_names,
            patients[own],
            metrics=SUBGROUP_METRICS,
            resamples=resamples,
            confidence=confidence,
            seed=seed,
        )
        count = len(np.unique(patients[own]))
        warning = _warning(labels[own], class_names, count)
        result.append(Subgroup(name, int(own.sum()), count, metrics, warning))
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
            f"holds {class_names[classes[0]]} slices only, so most numbers are not defined, and "
            "its accuracy is the sensitivity of that class"
        )
    if patients < 2:
        parts.append("one patient only, so no intervals")
    return "; ".join(parts)
