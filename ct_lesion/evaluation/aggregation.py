"""Aggregation of slices to scans and patients.

The logits of a scan or patient are the unweighted mean of its slices' logits; the predicted class
has the largest mean. A mean of logits gives confident slices more influence than doubtful ones, and
needs no threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RULE = (
    "The logits of a scan or a patient are the mean of the logits of its slices. A scan or patient "
    "whose slices have different true classes is left out."
)


@dataclass(frozen=True)
class Aggregated:
    """U units (scans or patients), sorted by name; C classes.

    Attributes:
        units: (U,) names.
        labels: (U,) true classes.
        logits: (U, C) mean logits of the slices.
        slices: (U,) number of slices.
        first: (U,) index of the first slice of each unit, e.g. to look up its patient.
        mixed: names of units that are left out, because their slices have different true classes.
    """

    units: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    slices: np.ndarray
    first: np.ndarray
    mixed: tuple[str, ...]


def scan_units(patients: Sequence[str], scans: Sequence[str]) -> np.ndarray:
    """Names ``<patient>/<scan>`` of the scans of M slices, (M,).

    Scan ids are unique only within a patient. A patient's slices without a scan id (an empty text)
    count as one scan.
    """
    pairs = zip(patients, scans, strict=True)
    return np.array([f"{patient}/{scan}" for patient, scan in pairs], dtype=str)


def aggregate(
    labels: np.ndarray, logits: np.ndarray, units: Sequence[str] | np.ndarray
) -> Aggregated:
    """Average the logits of each unit's slices; units with several true classes are left out.

    Args:
        labels: (M,) true classes of the slices.
        logits: (M, C).
        units: (M,) the patient of each slice, or its scan from :func:`scan_units`.

    Raises:
        ValueError: the arrays have different lengths.
    """
    labels, logits, units = np.asarray(labels), np.asarray(logits, dtype=float), np.asarray(units)
    if not len(labels) == len(logits) == len(units):
        raise ValueError(
            f"expected equal numbers of labels, logits and units, got {len(labels)}, {len(logits)} "
            f"and {len(units)}"
        )
    names, first, group, slices = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(names), *logits.shape[1:]))
    np.add.at(sums, group, logits)
    unit_labels = labels[first]
    differing = np.bincount(group, weights=labels != unit_labels[group], minlength=len(names))
    kept = differing == 0
    return Aggregated(
        units=names[kept],
        labels=unit_labels[kept],
        logits=sums[kept] / slices[kept, None],
        slices=slices[kept],
        first=first[kept],
        mixed=tuple(names[~kept].tolist()),
    )
