"""What a row of the benchmark is, and the list of all rows.

A module of rows registers each with :func:`register_row`; it is listed in :func:`all_rows`, which
imports it::

    @register_row(
        "classify-resnet18_t1",
        work="classify slices, 512 x 512, ResNet18_T1",
        unit="slice",
        first="plain, one slice at a time",
        second="fast path",
        target=at_least(2.5),
    )
    def classify(settings: Settings) -> Pair:
        ...
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ct_lesion.errors import UserError

from .timing import Comparison, Work, compare

ROW_MODULES = (
    *("inference_rows", "prediction_rows", "training_rows", "data_rows"),
    *("copy_rows", "gpu_rows", "peer_rows"),
)
"""Modules of this package that register rows, in the order of the table."""


@dataclass(frozen=True)
class Settings:
    """What the user chose.

    Attributes:
        rounds: times that each way is measured.
        size: height and width of the slices in pixels.
        slices: that each way passes in a round, where a row works on slices.
        weights: of a trained segmenter (ResNet18_T1), for the rows that segment; ``None`` for
            random weights whose scores are shifted, see ``models.py``.
    """

    rounds: int = 5
    size: int = 512
    slices: int = 8
    weights: Path | None = None


@dataclass(frozen=True)
class Target:
    """What the row's value is held against."""

    value: float
    at_least: bool
    unit: str = "x"

    def met(self, value: float) -> bool:
        return value >= self.value if self.at_least else value <= self.value

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.value:g}{_unit(self.unit)}"


def at_least(value: float, unit: str = "x") -> Target:
    """E.g. a ratio of 2.5 or more."""
    return Target(value, True, unit)


def at_most(value: float, unit: str = "x") -> Target:
    """E.g. 3 GiB or less."""
    return Target(value, False, unit)


@dataclass(frozen=True)
class Pair:
    """Two ways to do the work, ready to be timed.

    Attributes:
        first, second: the two ways; the row's value is time of the first over time of the second.
        facts: what a reader must know to judge it: weights, detections, largest difference of the
            two ways' results. Plain values for JSON.
    """

    first: Work
    second: Work
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Value:
    """A measured value of a row that does not compare two times, e.g. a peak of memory."""

    value: float
    unit: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowResult:
    """A row as measured, or the reason why it was not."""

    row: "Row"
    value: float | None = None
    unit: str = "x"
    comparison: Comparison | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; ``None`` without a target or a value."""
        if self.row.target is None or self.value is None:
            return None
        return self.row.target.met(self.value)

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return "-" if self.value is None else f"{self.value:.2f}{_unit(self.unit)}"

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.row.name,
            "work": self.row.work,
            "first": self.row.first,
            "second": self.row.second,
            "per": self.row.unit,
            "target": str(self.row.target) if self.row.target else None,
            "value": self.value,
            "value_unit": self.unit,
            "met": self.met,
            "skipped": self.skipped,
            "timing": self.comparison.to_json() if self.comparison else None,
            "facts": dict(self.facts),
        }


class SkipRow(Exception):
    """Raised while a row is prepared on a machine that cannot measure it; says why."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: for the command line.
        work: what is done, on what.
        unit: what is counted, e.g. "slice" or "step".
        first, second: the two ways; ``second`` is empty where one value is measured.
        target: of the ratio or the value; ``None`` for a comparison without one.
        prepare: makes the two ways, or measures the value. May raise :class:`SkipRow`.
        by_default: whether it is measured when no rows are named.
    """

    name: str
    work: str
    unit: str
    first: str
    second: str
    target: Target | None
    prepare: Callable[[Settings], Pair | Value]
    by_default: bool = True

    def run(self, settings: Settings, progress: Callable[[int], None] | None = None) -> RowResult:
        """Measure it."""
        try:
            prepared = self.prepare(settings)
        except SkipRow as reason:
            return RowResult(self, skipped=str(reason))
        if isinstance(prepared, Value):
            return RowResult(self, prepared.value, prepared.unit, facts=prepared.facts)
        comparison = compare(prepared.first, prepared.second, settings.rounds, progress)
        return RowResult(
            self, comparison.ratio_of_medians, comparison=comparison, facts=prepared.facts
        )


_ROWS: dict[str, Row] = {}


def register_row(name: str, **fields: Any) -> Callable[[Callable], Callable]:
    """Decorator: the function prepares the row of this name. ``fields`` are those of :class:`Row`.

    Raises:
        ValueError: there is such a row.
    """

    def register(prepare: Callable[[Settings], Pair | Value]) -> Callable:
        if name in _ROWS:
            raise ValueError(f"There are two rows {name!r}.")
        _ROWS[name] = Row(name=name, prepare=prepare, **fields)
        return prepare

    return register


def all_rows() -> list[Row]:
    """Every row, in the order of the table."""
    modules = [importlib.import_module(f".{m}", __package__).__name__ for m in ROW_MODULES]
    place = {module: index for index, module in enumerate(modules)}
    # a module may have been imported before, on its own
    return sorted(_ROWS.values(), key=lambda r: place.get(r.prepare.__module__, len(place)))


def choose_rows(names: Sequence[str] = (), with_peers: bool = False) -> list[Row]:
    """The rows of these names, or those that are measured by default.

    Args:
        names: of rows.
        with_peers: take in the comparison with torchvision's Mask R-CNN.

    Raises:
        UserError: no such row.
    """
    rows = {row.name: row for row in all_rows()}
    unknown = [name for name in names if name not in rows]
    if unknown:
        raise UserError(f"No row {', '.join(unknown)}. There are: {', '.join(rows)}.")
    if names:
        chosen = [rows[name] for name in names]
    else:
        chosen = [row for row in rows.values() if row.by_default]
    if with_peers:
        chosen += [r for r in rows.values() if r.name.startswith("torchvision") and r not in chosen]
    return chosen


def _unit(unit: str) -> str:
    return unit if unit == "x" else f" {unit}"
