"""Whether the class of an image can be told without looking at it.

A trivial model gets what surrounds an image, its size, format, file size and border, and nothing
of the lungs. What it can tell, a network can learn in place of the disease, and will.

Shapes: M slices, K features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import StratifiedGroupKFold

from ct_lesion.evaluation.patient_bootstrap import Interval, bootstrap_intervals

from ..thresholds import FEWEST_PROBE_PATIENTS, SHORTCUT_AUC

ALL = "all together"
FOLDS, TREES, DEPTH = 5, 40, 3
MOST_SLICES_A_PATIENT = 10
"""More say nothing new: size, format and border are those of the scan."""
RESAMPLES = 1000
FAMILY_CONFIDENCE = 0.95
"""Of all intervals of the classes together, so that more classes do not mean more false alarms."""


@dataclass(frozen=True)
class ProbeResult:
    """How well a class is told from the others.

    Attributes:
        label: the class; of two classes both, since each is told as well as the other.
        features: what the model had, e.g. "image size", or :data:`ALL`.
        auc: one against the rest, of patients, and its interval over patients.
        patients: of the class.
    """

    label: str
    features: str
    auc: Interval
    patients: int

    @property
    def is_shortcut(self) -> bool:
        """Above the threshold, and not by chance."""
        return self.auc.estimate >= SHORTCUT_AUC and self.auc.low > 0.5


def probe_classes(
    features: Mapping[str, np.ndarray],
    labels: np.ndarray,
    patients: np.ndarray,
    seed: int = 0,
) -> tuple[list[ProbeResult], str]:
    """Shallow trees on each kind of feature and on all, cross-validated by patient.

    A patient's score is the mean of the slices'; slices never vote beside their patient.

    Args:
        features: ``(M, K)`` float for each kind; a kind that is the same in all slices is left out.
        labels: ``(M,)`` class names.
        patients: ``(M,)``.
        seed: of trees, folds and bootstrap.

    Returns:
        Results for each class and kind; or none, and why nothing was measured.
    """
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        return [], "one class only"
    features = {
        kind: columns for kind, columns in features.items() if np.ptp(columns, axis=0).any()
    }
    if not features:
        return [], "all files are alike: there is nothing to tell classes by"
    units, of_unit = np.unique(
        np.array([f"{p}\0{label}" for p, label in zip(patients, labels, strict=True)]),
        return_inverse=True,
    )
    first = np.unique(of_unit, return_index=True)[1]
    unit_codes, unit_patients = codes[first], patients[first]
    sizes = np.bincount(unit_codes)
    if sizes.min() < FEWEST_PROBE_PATIENTS:
        few = names[int(sizes.argmin())]
        return [], f"{sizes.min()} patients of {few}, at least {FEWEST_PROBE_PATIENTS} are needed"
    kept = _thin_out(of_unit, seed)
    confidence = 1 - (1 - FAMILY_CONFIDENCE) / (len(names) if len(names) > 2 else 1)
    shown = range(len(names)) if len(names) > 2 else [1]
    # of one kind only, all together is that kind
    joined = {ALL: np.hstack(list(features.values()))} if len(features) > 1 else {}
    told: dict[tuple[int, str], np.ndarray] = {}
    for kind, columns in {**joined, **features}.items():
        held_out = _held_out_scores(columns[kept], codes[kept], patients[kept], of_unit[kept], seed)
        sums = np.zeros((len(units), len(names)))
        np.add.at(sums, of_unit[kept], held_out)
        means = sums / np.bincount(of_unit[kept], minlength=len(units))[:, None]
        told |= {(code, kind): means[:, code] for code in shown}
    intervals = bootstrap_intervals(
        lambda i: {key: _auc(unit_codes[i] == key[0], scores[i]) for key, scores in told.items()},
        unit_patients,
        resamples=RESAMPLES,
        confidence=confidence,
        seed=seed,
    )
    shown_names = [str(name) for name in names] if len(names) > 2 else [" or ".join(names)] * 2
    results = [
        ProbeResult(shown_names[code], kind, auc, int(sizes[code]))
        for (code, kind), auc in intervals.items()
    ]
    return results, ""


def _thin_out(of_unit: np.ndarray, seed: int) -> np.ndarray:
    """Indices of at most :data:`MOST_SLICES_A_PATIENT` slices of each patient and class."""
    order = np.random.default_rng(seed).permutation(len(of_unit))
    order = order[np.argsort(of_unit[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(of_unit))[:-1]])
    rank = np.arange(len(order)) - starts[of_unit[order]]
    return np.sort(order[rank < MOST_SLICES_A_PATIENT])


def _held_out_scores(
    columns: np.ndarray, codes: np.ndarray, patients: np.ndarray, of_unit: np.ndarray, seed: int
) -> np.ndarray:
    """``(M, C)`` probabilities, each from trees that did not see the patient."""
    scores = np.zeros((len(codes), codes.max() + 1))
    weights = 1 / np.bincount(of_unit)[of_unit]  # patients weigh alike
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for train, held_out in folds.split(columns, codes, patients):
        forest = RandomForestClassifier(
            TREES, max_depth=DEPTH, class_weight="balanced", random_state=seed
        )
        forest.fit(columns[train], codes[train], sample_weight=weights[train])
        scores[np.ix_(held_out, forest.classes_)] = forest.predict_proba(columns[held_out])
    return scores


def _auc(is_class: np.ndarray, scores: np.ndarray) -> float:
    """By ranks, which a bootstrap computes ten times sooner than from a curve."""
    positive = int(is_class.sum())
    negative = len(is_class) - positive
    if not positive or not negative:
        return np.nan
    wins = rankdata(scores)[is_class].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * negative))
