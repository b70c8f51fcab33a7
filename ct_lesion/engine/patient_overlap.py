"""Finds patients that are both in the training and in the test sets of a run.

Slices of a patient are very similar, so results on patients seen in training do not generalise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from ct_lesion.data.datasets.splits import shared_between
from ct_lesion.errors import ConfigError

ALLOW = "DATASETS.ALLOW_SHARED_PATIENTS"
_MOST_NAMED = 10


@dataclass(frozen=True)
class SharedPatients:
    """Patients in both a training set and a test set."""

    train: str
    test: str
    patients: tuple[str, ...]

    def __str__(self) -> str:
        some = ", ".join(self.patients[:_MOST_NAMED])
        more = f" and {len(self.patients) - _MOST_NAMED} more"
        more = more if len(self.patients) > _MOST_NAMED else ""
        return f"patients {some}{more} are in {self.train} and in {self.test}"


@dataclass(frozen=True)
class PatientOverlap:
    """Result of comparing training and test sets.

    Attributes:
        train, test: number of patients of each dataset; ``None`` if its records have no patients.
        shared: patients in both, for each pair of datasets.
        unnamed: number of slices without a patient, by dataset; these cannot be compared.
    """

    train: dict[str, int | None]
    test: dict[str, int | None]
    shared: tuple[SharedPatients, ...]
    unnamed: dict[str, int]

    def as_dict(self, allowed: bool) -> dict[str, Any]:
        """Plain values for a run's record.

        Args:
            allowed: value of ``DATASETS.ALLOW_SHARED_PATIENTS``.
        """
        return {
            "train": self.train,
            "test": self.test,
            "shared": [
                {"train": s.train, "test": s.test, "patients": list(s.patients)}
                for s in self.shared
            ],
            "allowed": allowed,
            "not_checked": {
                name: f"{count} slices have no patient" for name, count in self.unnamed.items()
            },
        }


def find_shared_patients(train: Sequence[str], test: Sequence[str]) -> PatientOverlap:
    """Compare the patient ids of registered datasets.

    Equal ids count as the same patient, even across datasets of different sources.

    Raises:
        DatasetError: a dataset is missing.
    """
    patients, unnamed = {}, {}
    for name in dict.fromkeys((*train, *test)):
        ids = [record.get("patient") for record in DatasetCatalog.get(name)]
        patients[name] = {str(patient) for patient in ids if patient is not None}
        if None in ids:
            unnamed[name] = ids.count(None)
    # the role is part of the key, because a dataset may be used for both
    sets = {("train", name): patients[name] for name in train}
    sets |= {("test", name): patients[name] for name in test}
    shared = [
        SharedPatients(first, second, tuple(common))
        for (role, first), (other_role, second), common in shared_between(sets)
        if role != other_role
    ]
    counts = {name: len(ids) or None for name, ids in patients.items()}
    return PatientOverlap(
        {name: counts[name] for name in train},
        {name: counts[name] for name in test},
        tuple(shared),
        unnamed,
    )


def check_patients_apart(cfg: CfgNode) -> None:
    """Refuse to train on patients of the test sets unless ``ALLOW_SHARED_PATIENTS`` is set.

    Raises:
        ConfigError: the sets share patients; names patients, datasets and key.
    """
    shared = find_shared_patients(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST).shared
    if shared and not cfg.DATASETS.ALLOW_SHARED_PATIENTS:
        raise ConfigError(
            f"DATASETS.TRAIN and DATASETS.TEST share patients: {'; '.join(map(str, shared))}. "
            "Results on them would be too optimistic. Split the dataset by patient. If this is "
            "intended, or if equal ids belong to different people, set "
            f"{ALLOW} True; the run's record will say so."
        )


def describe_overlap(patients: dict[str, Any]) -> str:
    """Describe the ``patients`` of a run's record in a phrase; empty if there is nothing to say."""
    if not patients:
        return ""
    shared = [SharedPatients(s["train"], s["test"], s["patients"]) for s in patients["shared"]]
    if shared:
        return f"{'; '.join(map(str, shared))}: allowed by {ALLOW}"
    if not patients["test"]:
        return ""
    if patients["not_checked"]:
        missing = (f"{name}: {why}" for name, why in patients["not_checked"].items())
        return f"not fully checked ({'; '.join(missing)})"
    return "no patient is in both a training and a test set"
