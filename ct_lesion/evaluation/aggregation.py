"""From slices to scans and patients.

The rule: the logits of a scan or a patient are the mean of the logits of its slices, all slices
counting the same; its predicted class is the largest mean. A mean of logits lets a slice with a
clear answer count more than one in doubt, and needs no threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RULE = (
    "The logits of a scan or a patient are the mean of the logits of its slices. One whose slices "
    "have different true classes is left out."
)


@dataclass(frozen=True)
class Aggregated:
    """Scans or patients, U of them, in the order of their names; C classes.

    Attributes:
        units: (U,) names.
        labels: (U,) true classes.
        logits: (U, C) mean of the slices' logits.
        slices: (U,) number of slices.
        first: (U,) index of a unit's first slice; ``patients[first]`` are the units' patients.
        mixed: names of the units that are left out, because their slices have different true
            classes.
    """

    units: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    slices: np.ndarray
    first: np.ndarray
    mixed: tuple[str, ...]


def scan_units(patients: Sequence[str], scans: Sequence[str]) -> np.ndarray:
    """Names ``<patient>/<scan>``, (M,): a scan's id is unique only within its patient.

    The slices of a patient that have no scan id (an empty text) count as one scan.
    """
    pairs = zip(patients, scans, strict=True)
    return np.array([f"{patient}/{scan}" for patient, scan in pairs], dtype=str)


def aggregate(
    labels: np.ndarray, logits: np.ndarray, units: Sequence[str] | np.ndarray
) -> Aggregated:
    """Mean logits of each unit's slices; units with slices of several true classes are left out.

    Args:
        labels: (M,) true classes of the slices.
        logits: (M, C).
        units: (M,) the patient of each slice, or its scan by :func:`scan_units`.

    Raises:
        ValueError: arrays of different lengths.
    """
    labels, logits, units = np.asarray(labels), np.asarray(logits, dtype=float), np.asarray(units)
    if not len(labels) == len(logits) == len(units):
        raise ValueError(f"{len(labels)} labels, {len(logits)} logits and {len(units)} units")
    names, first, group, slices = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    sums = np.zeros((len(names), *logits.shape[1:]))
    np.add.at(sums, group, logits)
    own = labels[first]
    strays = np.bincount(group, weights=labels != own[group], minlength=len(names))
    kept = strays == 0
    return Aggregated(
        units=names[kept],
        labels=own[kept],
        logits=sums[kept] / slices[kept, None],
        slices=slices[kept],
        first=first[kept],
        mixed=tuple(names[~kept].tolist()),
    )
