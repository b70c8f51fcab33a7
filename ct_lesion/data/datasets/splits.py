"""Splits by patient: read from lists, given by test patients, or drawn at random with a seed.

A split maps ``train``, ``val`` and ``test`` to their slices. No patient may be in two of them:
slices of a patient are too alike to train on some and test on others.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np

from ct_lesion.errors import DatasetError, reason
from ct_lesion.folders import check_regular
from ct_lesion.scans.names import natural_key

SPLITS = ("train", "val", "test")
_SHOWN = 10  # lines of an error message

Group = TypeVar("Group")
Item = TypeVar("Item", str, tuple[str, ...])


@dataclass(frozen=True, order=True)
class SliceId:
    """Patient and slice, as named in an archive or a list."""

    patient: str
    slice: str

    def __str__(self) -> str:
        return f"{self.patient}/{self.slice}"


Split = dict[str, list[SliceId]]


def read_split_list(path: str | Path) -> list[SliceId]:
    """Read a list of slices, one per line: ``<patient>_<slice>.jpg`` or ``<patient>/<slice>``.

    Blank lines, lines that start with ``#`` and file extensions are ignored.

    Raises:
        DatasetError: the file cannot be read or is empty, or a line is malformed or repeated.
    """
    try:
        check_regular(path)
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read as a list ({reason(error)}).") from None
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
                f"{path}:{number}: slice {slice_id} repeats line {slices[slice_id]}: remove one."
            )
        slices[slice_id] = number
    if not slices:
        raise DatasetError(f"{path} contains no slices. Write one <patient>_<slice>.jpg per line.")
    return list(slices)


def _parse_line(line: str) -> SliceId | None:
    path = Path(line.replace("\\", "/"))
    stem = path.stem if path.suffix.lower() in (".jpg", ".jpeg", ".png") else path.name
    if path.parent.name:
        return SliceId(path.parent.name, stem)
    patient, _, slice_name = stem.rpartition("_")
    return SliceId(patient, slice_name) if patient and slice_name else None


def split_by_lists(slices: Iterable[SliceId], lists: Mapping[str, str | Path]) -> Split:
    """Split slices by list files, e.g. ``{"train": "train.txt", "test": "test.txt"}``.

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


def split_by_patients(slices: Iterable[SliceId], test_patients: Sequence[str]) -> Split:
    """Test on the named patients and train on all others.

    Raises:
        DatasetError: a named patient does not exist.
    """
    by_patient = _by_patient(slices)
    unknown = [patient for patient in test_patients if patient not in by_patient]
    if unknown:
        known = sorted(by_patient, key=natural_key)
        more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        raise DatasetError(
            f"--test-patients: the archive has no patient {', '.join(unknown)}. It has "
            f"{', '.join(known[:_SHOWN])}{more}."
        )
    train = [patient for patient in by_patient if patient not in test_patients]
    return _slices_of({"train": train, "val": [], "test": test_patients}, by_patient)


def split_by_fractions(slices: Iterable[SliceId], fractions: Sequence[float], seed: int) -> Split:
    """Split the patients at random: fractions of the patients for train, val and test.

    A fraction above 0 gets at least one patient.

    Raises:
        DatasetError: see :func:`check_fractions`; or there are fewer patients than splits.
    """
    check_fractions(fractions)
    by_patient = _by_patient(slices)
    wanted = sum(f > 0 for f in fractions)
    if len(by_patient) < wanted:
        raise DatasetError(f"{len(by_patient)} patients cannot fill {wanted} splits: add patients.")
    patients = sorted(by_patient)
    np.random.default_rng(seed).shuffle(patients)
    counts = [max(round(f * len(patients)), 1) if f > 0 else 0 for f in fractions]
    # the largest split absorbs the rounding error
    counts[int(np.argmax(fractions))] += len(patients) - sum(counts)
    bounds = pairwise(np.cumsum([0, *counts]))
    chosen = {name: patients[a:b] for name, (a, b) in zip(SPLITS, bounds, strict=True)}
    return _slices_of(chosen, by_patient)


def split_by_class(
    classes: Mapping[str, Collection[int]], fractions: Sequence[float], seed: int
) -> dict[str, list[str]]:
    """Split patients so that each split gets its fraction of the patients of each class.

    The split depends on the patients' names and the seed only, not on their order.

    Args:
        classes: classes of each patient's slices; patients of several form separate strata.
        fractions: fractions of patients for train, val and test.
        seed: another seed gives another split.

    Returns:
        The patients of each split.

    Raises:
        DatasetError: see :func:`check_fractions`.
    """
    check_fractions(fractions)
    strata: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for patient, of_patient in classes.items():
        strata[tuple(sorted(set(of_patient)))].append(patient)
    chosen: dict[str, list[str]] = {name: [] for name in SPLITS}
    for _, patients in sorted(strata.items()):
        patients.sort(key=lambda patient: draw_order(patient, seed))
        bounds = pairwise(np.cumsum([0, *_share(len(patients), fractions)]))
        for name, (a, b) in zip(SPLITS, bounds, strict=True):
            chosen[name] += patients[a:b]
    return chosen


def draw_order(name: str, seed: int) -> bytes:
    """Sorting key for a random draw that depends on names and seed alone.

    The hash does not depend on platform or version; removing a name keeps the others' order.
    """
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()


def check_fractions(fractions: Sequence[float]) -> None:
    """Check the fractions of train, val and test.

    Raises:
        DatasetError: they are not three non-negative numbers that add up to 1.
    """
    if len(fractions) != 3 or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise DatasetError(
            f"Split fractions {tuple(fractions)}: give three numbers, for train, val and test, "
            "from 0 to 1, that add up to 1."
        )


def _share(total: int, fractions: Sequence[float]) -> list[int]:
    """Whole numbers that add up to ``total``, at least 1 for each fraction above 0 if possible."""
    counts = [int(f * total + 1e-9) for f in fractions]
    counts = [max(c, 1) if f else 0 for c, f in zip(counts, fractions, strict=True)]
    while sum(counts) != total:
        step = 1 if sum(counts) < total else -1
        # correct the split furthest from its fraction; take a split's last patient only if we must
        allowed = [i for i, f in enumerate(fractions) if f and (step > 0 or counts[i])]
        spare = [i for i in allowed if step > 0 or counts[i] > 1] or allowed
        best = max(spare, key=lambda i: step * (fractions[i] * total - counts[i]))
        counts[best] += step
    return counts


def shared_between(
    groups: Mapping[Group, Collection[Item]],
) -> Iterator[tuple[Group, Group, list[Item]]]:
    """Find the items that two groups share, e.g. the patients of two splits.

    Yields:
        For each pair of groups that share items: both groups, and these items in natural order
        (patient 3 before patient 20).
    """
    for (first, items), (second, others) in combinations(groups.items(), 2):
        common = set(items) & set(others)
        if common:
            yield first, second, sorted(common, key=_natural_order)


def _natural_order(item: str | tuple[str, ...]) -> list:
    return [natural_key(part) for part in ((item,) if isinstance(item, str) else item)]


def check_patients_apart(split: Mapping[str, Iterable[SliceId]]) -> None:
    """Check that no patient is in two splits.

    Raises:
        DatasetError: lists the patients and their splits.
    """
    patients = {name: {s.patient for s in slices} for name, slices in split.items()}
    shared = [
        f"patient {patient} is in {first} and {second}"
        for first, second, both in shared_between(patients)
        for patient in both
    ]
    if shared:
        raise DatasetError(
            _first_lines(shared) + "\nA patient must be in one split only: slices of a patient are "
            "too alike to train on some and test on others."
        )


def draw_val(split: Mapping[str, list[SliceId]], fraction: float, seed: int) -> Split:
    """Move patients from training to validation, unless the split has validation slices already.

    The draw depends on the patients' names and the seed only. At least one patient is drawn, and at
    least one is left to train on; a single training patient is never drawn.

    Args:
        split: slices of ``train`` and ``test``.
        fraction: share of the training patients; 0 draws none.
        seed: another seed draws other patients.

    Raises:
        DatasetError: the fraction is not in [0, 1).
    """
    if not 0 <= fraction < 1:
        raise DatasetError(f"--val-fraction {fraction:g}: give a number from 0 to below 1.")
    if split.get("val") or not fraction:
        return dict(split)
    by_patient = _by_patient(split["train"])
    patients = sorted(by_patient, key=lambda patient: draw_order(patient, seed))
    count = min(max(round(fraction * len(patients)), 1), len(patients) - 1)
    drawn = set(patients[:count])
    return {
        **split,
        "train": [s for s in split["train"] if s.patient not in drawn],
        "val": [s for s in split["train"] if s.patient in drawn],
    }


def splits_to_write(split: Mapping[str, list[SliceId]]) -> Split:
    """``train`` and ``test``, and ``val`` if it has slices."""
    return {name: split.get(name, []) for name in SPLITS if name != "val" or split.get(name)}


def _by_patient(slices: Iterable[SliceId]) -> dict[str, list[SliceId]]:
    by_patient = defaultdict(list)
    for slice_id in sorted(slices):
        by_patient[slice_id.patient].append(slice_id)
    return dict(by_patient)


def _slices_of(
    chosen: Mapping[str, Iterable[str]], by_patient: Mapping[str, list[SliceId]]
) -> Split:
    return {name: [s for p in patients for s in by_patient[p]] for name, patients in chosen.items()}


def _first_lines(lines: Sequence[str]) -> str:
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more])
