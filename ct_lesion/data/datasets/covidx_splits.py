"""Splits and training samples of the COVIDx-CT slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from .covidx_lists import IMAGE_CLASSES, PREFIXES, CTSlice, Problems
from .splits import draw_order, shared_between, split_by_class

Splits = dict[str, list[CTSlice]]


def check_splits_apart(
    splits: Splits, problems: Problems, ids_per_class: bool = False
) -> list[str]:
    """Find slices and patients that are in two splits.

    Args:
        splits: slices of each split.
        problems: collects the slices that are in two splits.
        ids_per_class: see :meth:`CTSlice.person`.

    Returns:
        A line for each patient in two splits, e.g. ``96: train (NCP), val (NCP)``. These are not
        in ``problems``, because the caller may allow them.
    """
    ids = {name: {s.image_id for s in slices} for name, slices in splits.items()}
    for first, second, both in shared_between(ids):
        problems.add("slices in two splits", *(f"{i}: {first}, {second}" for i in both))
    labels: dict[str, dict[str, set[int]]] = {name: defaultdict(set) for name in splits}
    for name, slices in splits.items():
        for ct_slice in slices:
            labels[name][ct_slice.person(ids_per_class)].add(ct_slice.label)
    shared = dict.fromkeys(person for *_, both in shared_between(labels) for person in both)
    return [
        f"{person}: "
        + ", ".join(
            f"{name} ({PREFIXES[label]})"
            for name, people in labels.items()
            for label in sorted(people.get(person, ()))
        )
        for person in shared
    ]


def split_patients(
    slices: Iterable[CTSlice],
    fractions: Sequence[float],
    seed: int,
    problems: Problems,
    ids_per_class: bool = False,
) -> Splits:
    """Split by patient, so that each split gets its fraction of the patients of each class.

    Args:
        slices: all slices.
        fractions: fractions of the patients, for train, val and test.
        seed: another seed gives another split.
        problems: collects classes that a split lacks.
        ids_per_class: see :meth:`CTSlice.person`.

    Raises:
        DatasetError: the fractions do not add up to 1.
    """
    by_person: dict[str, list[CTSlice]] = defaultdict(list)
    for ct_slice in sorted(slices):
        by_person[ct_slice.person(ids_per_class)].append(ct_slice)
    classes = {person: {s.label for s in theirs} for person, theirs in by_person.items()}
    splits = {
        name: [s for person in people for s in by_person[person]]
        for name, people in split_by_class(classes, fractions, seed).items()
    }
    for (name, chosen), fraction in zip(splits.items(), fractions, strict=True):
        absent = set(range(len(IMAGE_CLASSES))) - {s.label for s in chosen}
        for label in sorted(absent) if fraction else ():
            problems.add(
                "classes with too few patients (add patients, or change --split-fractions)",
                f"{name} has no {IMAGE_CLASSES[label]}",
            )
    return splits


def draw_sample(
    slices: Iterable[CTSlice], per_class: int, seed: int, problems: Problems
) -> list[CTSlice]:
    """Draw the same number of slices of each class, in class order.

    The draw depends on the slices' names and the seed only. With the same seed, a smaller sample is
    a subset of a larger one.

    Args:
        slices: slices of the training split.
        per_class: slices to draw from each class.
        seed: another seed gives another sample.
        problems: collects classes with too few slices.
    """
    by_class: dict[int, list[CTSlice]] = defaultdict(list)
    for ct_slice in slices:
        by_class[ct_slice.label].append(ct_slice)
    sample = []
    for label, name in enumerate(IMAGE_CLASSES):
        if len(by_class[label]) < per_class:
            problems.add(
                "classes too small for the training sample (lower --per-class)",
                f"{name} has {len(by_class[label])} training slices, --per-class is {per_class}",
            )
        sample += sorted(by_class[label], key=lambda s: draw_order(s.image_id, seed))[:per_class]
    return sample


def select_sample(
    listed: Iterable[CTSlice], splits: Mapping[str, Sequence[CTSlice]], problems: Problems
) -> tuple[list[CTSlice], list[str]]:
    """Select the training slices that a published sample lists.

    Args:
        listed: slices of the sample.
        splits: all slices of each split.
        problems: collects slices of the sample that are in the validation or test split.

    Returns:
        The sample in the order of its list, and the image ids that are in no split.
    """
    train = {s.image_id: s for s in splits["train"]}
    held_out = {s.image_id: name for name in splits if name != "train" for s in splits[name]}
    sample, unknown = [], []
    for image_id in (s.image_id for s in listed):
        if image_id in train:
            sample.append(train[image_id])
        elif image_id in held_out:
            split = held_out[image_id]
            problems.add("slices of the sample that are in val or test", f"{image_id}: {split}")
        else:
            unknown.append(image_id)
    if not sample:
        problems.add("empty training samples", "no slice of --sample-list is in the train split")
    return sample, unknown
