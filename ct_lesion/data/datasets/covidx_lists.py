"""COVIDx-CT lists, CNCB's class tree, and the samples and splits drawn from them.

A slice is named ``<prefix>_<patient>_<scan>_<slice>``; its class is the prefix, ``Normal``, ``CP``
or ``NCP``. Nothing here opens an image. What is wrong with a user's files is collected in
:class:`Problems`, so that all of it is told at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ct_lesion.errors import DatasetError

from .splits import draw_order, shared_between, split_by_class

IMAGE_CLASSES = ("Control", "Common Pneumonia", "COVID-19")
"""Names of the classes 0, 1 and 2."""
PREFIXES = ("Normal", "CP", "NCP")
"""How the files of the classes 0, 1 and 2 begin."""
LINE_FORM = "<Normal|CP|NCP>_<patient>_<scan>_<slice>.png <class 0|1|2> <x0> <y0> <x1> <y1>"
SHOWN = 10  # items of a kind of problem that are shown


class CTSlice(NamedTuple):
    """A slice of a scan of a patient.

    Attributes:
        label: index into ``IMAGE_CLASSES``.
        body_box: x0, y0, x1, y1 of the body in pixels; ``None`` where no list gives it.
    """

    label: int
    patient: str
    scan: str
    slice: str
    body_box: tuple[int, int, int, int] | None = None

    @property
    def image_id(self) -> str:
        """``NCP_96_1328_0032``: the file name without its ending."""
        return f"{PREFIXES[self.label]}_{self.patient}_{self.scan}_{self.slice}"

    def person(self, ids_per_class: bool = False) -> str:
        """Who this is. CNCB numbers patients across its classes; a tree of your own may not."""
        return f"{PREFIXES[self.label]}_{self.patient}" if ids_per_class else self.patient


Splits = dict[str, list[CTSlice]]


class Problems:
    """Collects what is wrong, by kind, so that a user sees all of it at once."""

    def __init__(self) -> None:
        self._items: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, *items: str) -> None:
        """Note items of one kind; of each kind the first ten and the number are shown."""
        self._items[kind].extend(items)

    def by_kind(self) -> dict[str, list[str]]:
        """All items of each kind that has any."""
        return {kind: list(items) for kind, items in self._items.items() if items}

    def __bool__(self) -> bool:
        return any(self._items.values())

    def __str__(self) -> str:
        return "\n".join(describe(kind, items) for kind, items in self._items.items() if items)

    def raise_if_any(self) -> None:
        """Raise a :class:`DatasetError` that tells all problems, if there are any."""
        if self:
            raise DatasetError(f"nothing was written.\n{self}")


def describe(kind: str, items: Sequence[str]) -> str:
    """A kind of problem, its number, and its first ten items, one a line."""
    more = [f"  ... and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return "\n".join([f"{kind} ({len(items)}):", *(f"  {i}" for i in items[:SHOWN]), *more])


def parse_name(name: str) -> CTSlice:
    """The slice a file name stands for, e.g. ``NCP_96_1328_0032.png``.

    Raises:
        ValueError: another form, or an unknown class.
    """
    prefix, *rest = name.rsplit(".", 1)[0].split("_")
    if len(rest) != 3 or not all(rest):
        raise ValueError(f"{name!r} is not of the form <class>_<patient>_<scan>_<slice>.png")
    if prefix not in PREFIXES:
        raise ValueError(f"unknown class {prefix!r}; there are {', '.join(PREFIXES)}")
    return CTSlice(PREFIXES.index(prefix), *rest)


def parse_line(line: str) -> CTSlice:
    """A line of a COVIDx-CT list: ``NCP_96_1328_0032.png 2 9 94 512 405``.

    Raises:
        ValueError: says what is wrong with the line.
    """
    fields = line.split()
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields in place of 6: {LINE_FORM}")
    name, digit, *corners = fields
    ct_slice = parse_name(name)
    if digit not in ("0", "1", "2"):
        raise ValueError(f"unknown class {digit!r}; there are 0, 1 and 2")
    if int(digit) != ct_slice.label:
        raise ValueError(
            f"class {digit} contradicts the name {name}: {PREFIXES[ct_slice.label]} is class "
            f"{ct_slice.label}"
        )
    if not all(corner.isdecimal() for corner in corners):
        raise ValueError(f"the body box {' '.join(corners)} is not four whole numbers from 0 up")
    x0, y0, x1, y1 = map(int, corners)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the body box {x0} {y0} {x1} {y1} is empty (x0 < x1 and y0 < y1)")
    return ct_slice._replace(body_box=(x0, y0, x1, y1))


def read_list(path: str | Path, problems: Problems) -> list[CTSlice]:
    """Read a COVIDx-CT list; blank lines are skipped.

    Problems noted, each as ``file:line``: unreadable or empty file, malformed line, unknown class,
    a class that contradicts the name, duplicate.
    """
    slices, first_line = [], {}
    for number, line in _numbered_lines(path, problems):
        try:
            ct_slice = parse_line(line)
        except ValueError as error:
            problems.add("faulty lines", f"{path}:{number}: {error}")
            continue
        key = ct_slice.image_id
        if key in first_line:
            problems.add(
                "duplicate lines", f"{path}:{number}: {key} is in line {first_line[key]} already"
            )
            continue
        first_line[key] = number
        slices.append(ct_slice)
    return slices


def read_sample_list(path: str | Path, problems: Problems) -> list[str]:
    """Read a training sample: one file name a line, prefixed by class digit or class name.

    ``0_1728_1013_0023.png`` and ``Normal_1728_1013_0023.png`` are the same slice. Further fields
    of a line are ignored. Problems are noted as in :func:`read_list`.

    Returns:
        Image ids, in the list's order.
    """
    first_line: dict[str, int] = {}
    for number, line in _numbered_lines(path, problems):
        name = line.split()[0]
        digit, _, rest = name.partition("_")
        if digit in ("0", "1", "2"):
            name = f"{PREFIXES[int(digit)]}_{rest}"
        try:
            key = parse_name(name).image_id
        except ValueError as error:
            problems.add("faulty lines", f"{path}:{number}: {error}")
            continue
        if key in first_line:
            problems.add(
                "duplicate lines", f"{path}:{number}: {key} is in line {first_line[key]} already"
            )
        first_line.setdefault(key, number)
    return list(first_line)


def _numbered_lines(path: str | Path, problems: Problems) -> list[tuple[int, str]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.add("lists that cannot be read", f"{path}: {error}")
        return []
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        problems.add("lists that cannot be read", f"{path}: is empty")
    return lines


def check_splits_apart(
    splits: Splits, problems: Problems, ids_per_class: bool = False
) -> list[str]:
    """Note every slice that is in two splits, and return the patients who are.

    Returns:
        One line a patient, e.g. ``96: train (NCP), val (NCP)``; what to do about them is up to the
        caller.
    """
    for first, second, ids in shared_between(
        {name: {s.image_id for s in slices} for name, slices in splits.items()}
    ):
        problems.add("slices in two splits", *(f"{i}: {first}, {second}" for i in ids))
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


def draw_sample(
    slices: Iterable[CTSlice], per_class: int, seed: int, problems: Problems
) -> list[CTSlice]:
    """Draw the same number of slices of each class, in class order.

    The draw depends on the slices' names and the seed only; a smaller sample with the same seed is
    part of a larger one. A class with too few slices is noted in ``problems``.
    """
    by_class: dict[int, list[CTSlice]] = defaultdict(list)
    for ct_slice in slices:
        by_class[ct_slice.label].append(ct_slice)
    sample = []
    for label, name in enumerate(IMAGE_CLASSES):
        if len(by_class[label]) < per_class:
            problems.add(
                "classes too small for the training sample",
                f"{name} has {len(by_class[label])} training slices, --per-class asks for "
                f"{per_class}",
            )
        sample += sorted(by_class[label], key=lambda s: draw_order(s.image_id, seed))[:per_class]
    return sample


def select_sample(
    sample_ids: Iterable[str], splits: Mapping[str, Sequence[CTSlice]], problems: Problems
) -> tuple[list[CTSlice], list[str]]:
    """The training slices that a published sample names.

    A slice of the sample in the validation or test split is noted in ``problems``.

    Returns:
        The sample, in its own order, and the ids that are in no split at all.
    """
    train = {s.image_id: s for s in splits["train"]}
    held_out = {s.image_id: name for name in splits if name != "train" for s in splits[name]}
    sample, unknown = [], []
    for key in sample_ids:
        if key in train:
            sample.append(train[key])
        elif key in held_out:
            problems.add("slices of the sample that are held out", f"{key}: {held_out[key]}")
        else:
            unknown.append(key)
    if not sample:
        problems.add("classes too small for the training sample", "no slice of it is for training")
    return sample, unknown


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
        fractions: of the patients, for train, val and test.
        seed: another seed gives another split.
        problems: collects classes that a split lacks.
        ids_per_class: see :meth:`CTSlice.person`.

    Raises:
        DatasetError: the fractions do not add up to 1.
    """
    by_person: dict[str, list[CTSlice]] = defaultdict(list)
    for ct_slice in sorted(slices):
        by_person[ct_slice.person(ids_per_class)].append(ct_slice)
    classes = {person: {s.label for s in own} for person, own in by_person.items()}
    splits = {
        name: [s for person in people for s in by_person[person]]
        for name, people in split_by_class(classes, fractions, seed).items()
    }
    for (name, own), fraction in zip(splits.items(), fractions, strict=True):
        absent = set(range(len(IMAGE_CLASSES))) - {s.label for s in own}
        for label in sorted(absent) if fraction else ():
            problems.add("classes with too few patients", f"{name} has no {IMAGE_CLASSES[label]}")
    return splits
