"""COVIDx-CT lists and the file names of CNCB's classes.

A slice is named ``<prefix>_<patient>_<scan>_<slice>``; the prefix ``Normal``, ``CP`` or ``NCP``
gives its class. No image is opened here. Faults in the user's files are collected in
:class:`Problems` and reported together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from ct_lesion.errors import DatasetError, reason
from ct_lesion.folders import check_regular

IMAGE_CLASSES = ("Control", "Common Pneumonia", "COVID-19")
"""Names of the classes 0, 1 and 2."""
PREFIXES = ("Normal", "CP", "NCP")
"""Prefixes of the file names of the classes 0, 1 and 2."""
LINE_FORM = "<Normal|CP|NCP>_<patient>_<scan>_<slice>.png <class 0|1|2> <x0> <y0> <x1> <y1>"
DUPLICATE_LINES = "duplicate lines"  # a kind of problem
_SHOWN = 10  # items of each kind of problem in a message


class CTSlice(NamedTuple):
    """A slice of a patient's scan.

    Attributes:
        label: index into ``IMAGE_CLASSES``.
        body_box: x0, y0, x1, y1 of the body in pixels; ``None`` if no list gives it.
    """

    label: int
    patient: str
    scan: str
    slice: str
    body_box: tuple[int, int, int, int] | None = None

    @property
    def image_id(self) -> str:
        """The file name without its extension, e.g. ``NCP_96_1328_0032``."""
        return f"{PREFIXES[self.label]}_{self.patient}_{self.scan}_{self.slice}"

    def person(self, ids_per_class: bool = False) -> str:
        """Unique id of the patient.

        Args:
            ids_per_class: the same number in two classes means two people; in CNCB's data it means
                one.
        """
        return f"{PREFIXES[self.label]}_{self.patient}" if ids_per_class else self.patient


class Problems:
    """Collects faults by kind, so that the user sees all of them together."""

    def __init__(self) -> None:
        self._items: dict[str, list[str]] = defaultdict(list)

    def add(self, kind: str, *items: str) -> None:
        """Add items of one kind."""
        self._items[kind].extend(items)

    def by_kind(self) -> dict[str, list[str]]:
        """All items of each kind that has any."""
        return {kind: list(items) for kind, items in self._items.items() if items}

    def __bool__(self) -> bool:
        return any(self._items.values())

    def __str__(self) -> str:
        return "\n".join(describe(kind, items) for kind, items in self.by_kind().items())

    def raise_if_any(self) -> None:
        """Report all problems.

        Raises:
            DatasetError: there are problems; the message lists them.
        """
        if self:
            raise DatasetError(f"Nothing was written. Correct these problems first:\n{self}")


def describe(kind: str, items: Sequence[str]) -> str:
    """A kind of problem with its count, and the first ten items, one per line."""
    more = [f"  ... and {len(items) - _SHOWN} more"] if len(items) > _SHOWN else []
    return "\n".join([f"{kind} ({len(items)}):", *(f"  {i}" for i in items[:_SHOWN]), *more])


def parse_name(name: str) -> CTSlice:
    """Parse a file name, e.g. ``NCP_96_1328_0032.png``.

    Raises:
        ValueError: the name is malformed or its class unknown.
    """
    prefix, *rest = name.rsplit(".", 1)[0].split("_")
    if len(rest) != 3 or not all(rest):
        raise ValueError(f"{name!r} is not of the form <class>_<patient>_<scan>_<slice>.png")
    if prefix not in PREFIXES:
        raise ValueError(f"unknown class {prefix!r}, expected {', '.join(PREFIXES)}")
    return CTSlice(PREFIXES.index(prefix), *rest)


def parse_line(line: str) -> CTSlice:
    """Parse a line of a COVIDx-CT list, e.g. ``NCP_96_1328_0032.png 2 9 94 512 405``.

    Raises:
        ValueError: the line is malformed; the message gives the reason.
    """
    fields = line.split()
    if len(fields) != 6:
        raise ValueError(f"{len(fields)} fields, expected 6: {LINE_FORM}")
    name, digit, *corners = fields
    ct_slice = parse_name(name)
    if digit not in ("0", "1", "2"):
        raise ValueError(f"unknown class {digit!r}, expected 0, 1 or 2")
    if int(digit) != ct_slice.label:
        raise ValueError(
            f"class {digit} contradicts the name {name}: {PREFIXES[ct_slice.label]} is class "
            f"{ct_slice.label}"
        )
    if not all(corner.isdecimal() for corner in corners):
        raise ValueError(f"the body box {' '.join(corners)} is not four whole numbers, 0 or more")
    x0, y0, x1, y1 = map(int, corners)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"the body box {x0} {y0} {x1} {y1} is empty (needs x0 < x1 and y0 < y1)")
    return ct_slice._replace(body_box=(x0, y0, x1, y1))


def parse_sample_line(line: str) -> CTSlice:
    """Parse a line of a training sample: a file name that starts with a class digit or name.

    ``0_1728_1013_0023.png`` and ``Normal_1728_1013_0023.png`` are the same slice. Further fields
    of the line are ignored.

    Raises:
        ValueError: see :func:`parse_name`.
    """
    name = line.split()[0]
    digit, _, rest = name.partition("_")
    return parse_name(f"{PREFIXES[int(digit)]}_{rest}" if digit in ("0", "1", "2") else name)


def read_list(
    path: str | Path, problems: Problems, parse: Callable[[str], CTSlice] = parse_line
) -> list[CTSlice]:
    """Read a list of slices, one per line; blank lines are skipped.

    Args:
        path: path of the list.
        problems: collects an unreadable or empty file, malformed lines and duplicates, with file
            and line number.
        parse: :func:`parse_line` for COVIDx-CT lists, :func:`parse_sample_line` for a training
            sample.
    """
    slices, first_line = [], {}
    for number, line in _numbered_lines(path, problems):
        try:
            ct_slice = parse(line)
        except ValueError as error:
            problems.add("faulty lines", f"{path}:{number}: {error}")
            continue
        key = ct_slice.image_id
        if key in first_line:
            problems.add(
                DUPLICATE_LINES, f"{path}:{number}: {key} is already in line {first_line[key]}"
            )
            continue
        first_line[key] = number
        slices.append(ct_slice)
    return slices


def _numbered_lines(path: str | Path, problems: Problems) -> list[tuple[int, str]]:
    try:
        check_regular(path)
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.add("unreadable lists", f"{path} cannot be read ({reason(error)})")
        return []
    lines = [(n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        problems.add("unreadable lists", f"{path} is empty")
    return lines
