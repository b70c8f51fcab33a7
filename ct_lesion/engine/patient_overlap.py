"""Whether a patient is both in a run's training and in its test sets.

Slices of a patient are so alike that results on one who was trained on say little about others.
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
    """Patients who are in a training set and in a test set."""

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
    """What a comparison of training and test sets found.

    Attributes:
        train, test: number of patients of each dataset; ``None`` where its records name none.
        shared: patients who are in both.
        unnamed: slices that name no patient, by dataset, so that nobody knows whose they are.
    """

    train: dict[str, int | None]
    test: dict[str, int | None]
    shared: tuple[SharedPatients, ...]
    unnamed: dict[str, int]

    def as_dict(self, allowed: bool) -> dict[str, Any]:
        """Plain values for a run's record; ``allowed`` is the key's value."""
        return {
            "train": self.train,
            "test": self.test,
            "shared": [
                {"train": s.train, "test": s.test, "patients": list(s.patients)}
                for s in self.shared
            ],
            "allowed": allowed,
            "not_checked": {
                name: f"{count} slices name no patient" for name, count in self.unnamed.items()
            },
        }


def find_shared_patients(train: Sequence[str], test: Sequence[str]) -> PatientOverlap:
    """Compare the patients of registered datasets, by what their records call them.

    Numbers are compared as they are, also of datasets from different places, where they may mean
    different people.

    Raises:
        DatasetError: a dataset is not there.
    """
    patients, unnamed = {}, {}
    for name in dict.fromkeys((*train, *test)):
        of_slices = [record.get("patient") for record in DatasetCatalog.get(name)]
        patients[name] = {str(patient) for patient in of_slices if patient is not None}
        if None in of_slices:
            unnamed[name] = of_slices.count(None)
    # a dataset may be both in training and in test
    sets = {("train", name): patients[name] for name in train}
    sets |= {("test", name): patients[name] for name in test}
    shared = [
        SharedPatients(first, second, tuple(both))
        for (role, first), (other_role, second), both in shared_between(sets)
        if role != other_role
    ]
    counts = {name: len(own) or None for name, own in patients.items()}
    return PatientOverlap(
        {name: counts[name] for name in train},
        {name: counts[name] for name in test},
        tuple(shared),
        unnamed,
    )


def check_patients_apart(cfg: CfgNode) -> None:
    """Refuse to train on patients of the test sets, unless a key allows it.

    Raises:
        ConfigError: names the patients, the datasets and the key.
    """
    shared = find_shared_patients(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST).shared
    if shared and not cfg.DATASETS.ALLOW_SHARED_PATIENTS:
        raise ConfigError(
            f"DATASETS.TRAIN and DATASETS.TEST share patients: {'; '.join(map(str, shared))}. "
            "Results on them would be too good. Split by patient; or, if that is meant or the "
            f"same numbers are other people, set {ALLOW} True, which the run's record will say."
        )


def describe_overlap(patients: dict[str, Any]) -> str:
    """A sentence about the ``patients`` of a run's record; empty for a record without them."""
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
    return "none is in a training and a test set"
