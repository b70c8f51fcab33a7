"""Splits by patient: from published lists, by naming patients, or seeded.

A split maps ``train``, ``val`` and ``test`` to the slices in it. No patient is ever in two.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError

from ..prepare.cncb_archive import SliceId

SPLITS = ("train", "val", "test")
Split = dict[str, list[SliceId]]


def read_split_list(path: str | Path) -> list[SliceId]:
    """Read a list of slices, one a line: ``<patient>_<slice>.jpg`` or a path ``<patient>/<slice>``.

    Blank lines and lines starting with ``#`` are skipped; file endings do not matter.

    Raises:
        DatasetError: the file cannot be read, is empty, or a line is neither form or stands twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of slices ({error}).") from None
    slices: dict[SliceId, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        slice_id = _parse_line(line.strip())
        if slice_id is None:
            raise DatasetError(
                f"{path}:{number}: {line.strip()[:100]!r} is neither <patient>_<slice>.jpg nor a "
                "path ending in <patient>/<slice>.jpg."
            )
        if slice_id in slices:
            raise DatasetError(
                f"{path}:{number}: slice {slice_id} stands in line {slices[slice_id]} already."
            )
        slices[slice_id] = number
    if not slices:
        raise DatasetError(f"{path}: no slices in this list.")
    return list(slices)


def _parse_line(line: str) -> SliceId | None:
    path = Path(line.replace("\\", "/"))
    stem = path.stem if path.suffix.lower() in (".jpg", ".jpeg", ".png") else path.name
    if path.parent.name:
        return SliceId(path.parent.name, stem)
    patient, _, slice_name = stem.rpartition("_")
    return SliceId(patient, slice_name) if patient and slice_name else None


def split_by_lists(slices: Iterable[SliceId], lists: Mapping[str, str | Path]) -> Split:
    """The split given by list files, e.g. ``{"train": "train.txt", "test": "test.txt"}``.

    Raises:
        DatasetError: a listed slice does not exist.
    """
    existing = set(slices)
    split = {name: read_split_list(path) for name, path in lists.items()}
    missing = [
        f"{path}: slice {slice_id} is not in the archive"
        for name, path in lists.items()
        for slice_id in split[name]
        if slice_id not in existing
    ]
    if missing:
        raise DatasetError(_first_lines(missing))
    return split


def split_by_patients(
    slices: Iterable[SliceId], test_patients: Sequence[str], val_patients: Sequence[str] = ()
) -> Split:
    """Hold out the named patients; all others train.

    Raises:
        DatasetError: a named patient does not exist.
    """
    by_patient = _group(slices)
    unknown = [p for p in (*test_patients, *val_patients) if p not in by_patient]
    if unknown:
        raise DatasetError(
            f"Patients {', '.join(unknown)} are not in the archive, which has "
            f"{', '.join(sorted(by_patient))}."
        )
    held_out = {*test_patients, *val_patients}
    patients = {
        "train": [p for p in by_patient if p not in held_out],
        "val": list(val_patients),
        "test": list(test_patients),
    }
    return {name: [s for p in chosen for s in by_patient[p]] for name, chosen in patients.items()}


def split_by_fractions(slices: Iterable[SliceId], fractions: Sequence[float], seed: int) -> Split:
    """Draw patients at random: fractions of the patients for train, val and test.

    A fraction above 0 gets at least one patient.

    Raises:
        DatasetError: the fractions are not three numbers that add up to 1, or there are fewer
            patients than splits.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DatasetError(
            f"Split fractions {tuple(fractions)}: give three numbers, for train, val and test, "
            "that add up to 1."
        )
    by_patient = _group(slices)
    wanted = sum(f > 0 for f in fractions)
    if len(by_patient) < wanted:
        raise DatasetError(f"{len(by_patient)} patients cannot fill {wanted} splits.")
    patients = sorted(by_patient)
    np.random.default_rng(seed).shuffle(patients)
    counts = [max(round(f * len(patients)), 1) if f > 0 else 0 for f in fractions]
    # what rounding adds or takes falls on the largest split
    counts[int(np.argmax(fractions))] += len(patients) - sum(counts)
    bounds = np.cumsum([0, *counts])
    chosen = [patients[a:b] for a, b in pairwise(bounds)]
    return {
        name: [s for p in group for s in by_patient[p]]
        for name, group in zip(SPLITS, chosen, strict=True)
    }


def check_patients_apart(split: Mapping[str, Iterable[SliceId]]) -> None:
    """Refuse a patient in two splits.

    Raises:
        DatasetError: names every such patient and its splits.
    """
    splits_of = defaultdict(set)
    for name, slices in split.items():
        for slice_id in slices:
            splits_of[slice_id.patient].add(name)
    shared = [
        f"patient {patient} is in {' and '.join(sorted(names))}"
        for patient, names in sorted(splits_of.items())
        if len(names) > 1
    ]
    if shared:
        raise DatasetError(
            _first_lines(shared) + "\nA patient must be in one split only: slices of a patient are "
            "too alike to test on after training on others."
        )


def _group(slices: Iterable[SliceId]) -> dict[str, list[SliceId]]:
    by_patient = defaultdict(list)
    for slice_id in sorted(slices):
        by_patient[slice_id.patient].append(slice_id)
    return dict(by_patient)


def _first_lines(lines: Sequence[str], most: int = 10) -> str:
    more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([*lines[:most], *more])
