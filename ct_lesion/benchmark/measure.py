"""Times two implementations of the same work, alternately.

Other load on the machine slows both down while it lasts, so the ratio of a round is steadier
than either time.
"""

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Settings:
    """The user's choices.

    Attributes:
        rounds: number of measurements of each implementation.
        size: height and width of the slices in pixels.
        slices: number of slices per round, in the cases that work on slices.
        weights: weights of a trained segmenter (ResNet18_T1); ``None`` for random weights, see
            ``inputs.py``.
    """

    rounds: int = 5
    size: int = 512
    slices: int = 8
    weights: Path | None = None


class NotMeasurable(Exception):
    """This machine cannot measure a case; the message says why."""


class Timed(NamedTuple):
    """Return value of work that measures its own time, e.g. by extrapolation."""

    units: float
    seconds: float


Work = Callable[[], float | Timed]
"""Does some work and returns the number of units done (slices, steps), or a :class:`Timed`."""


class Spread(NamedTuple):
    """Median, smallest and largest value over the rounds."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """Times of two implementations over all rounds.

    Attributes:
        first, second: seconds per unit.
        first_cpu, second_cpu: processor seconds per unit, over all threads.
        ratio: seconds of the first over seconds of the second, by round.
        rounds: number of rounds.
    """

    first: Spread
    second: Spread
    first_cpu: Spread
    second_cpu: Spread
    ratio: Spread
    rounds: int

    @property
    def ratio_of_medians(self) -> float:
        """Median seconds of the first over those of the second: the speed-up."""
        return self.first.median / self.second.median

    def to_json(self) -> dict[str, Any]:
        spreads = {
            name: value._asdict() if isinstance(value, Spread) else value
            for name, value in vars(self).items()
        }
        return {"ratio_of_medians": self.ratio_of_medians, **spreads}


def measure(work: Work) -> tuple[float, float]:
    """Do the work once; returns wall-clock and processor seconds per unit.

    Raises:
        ValueError: the work returned no units.
    """
    cpu_before, began = _cpu_seconds(), time.perf_counter()
    done = work()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu_before
    if isinstance(done, Timed):
        cpu *= done.seconds / seconds  # extrapolated like the time
        done, seconds = done
    if done <= 0:
        raise ValueError(f"The work returned {done} units, expected more than 0.")
    return seconds / done, cpu / done


def compare(first: Work, second: Work, rounds: int) -> Comparison:
    """Time two implementations alternately, after a warm-up round; prints a dot per round."""
    first()
    second()
    samples = []
    for _ in range(rounds):
        samples.append((*measure(first), *measure(second)))
        print(".", end="", flush=True)
    a, a_cpu, b, b_cpu = zip(*samples, strict=True)
    ratios = [x / y for x, y in zip(a, b, strict=True)]
    return Comparison(*map(Spread.of, (a, b, a_cpu, b_cpu, ratios)), rounds)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass(frozen=True)
class Measured:
    """Result of a case.

    Attributes:
        value: what the target applies to: the speed-up, or e.g. the peak memory.
        facts: what the value depends on: weights, detections, largest difference between the
            results of the two implementations. JSON values.
        comparison: times of both implementations; ``None`` in cases that measure a single value.
    """

    value: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    comparison: Comparison | None = None


def compared(first: Work, second: Work, settings: Settings, facts: Mapping[str, Any]) -> Measured:
    """Measure the speed-up of the second implementation over the first."""
    comparison = compare(first, second, settings.rounds)
    return Measured(comparison.ratio_of_medians, facts, comparison)


@dataclass(frozen=True)
class Case:
    """A row of the table of results.

    Attributes:
        name: for the command line.
        work: what is done, on what.
        measure: performs the measurement; may raise :class:`NotMeasurable`.
        first, second: names of the implementations; ``second`` is empty where a single value is
            measured.
        per: what is counted, e.g. "slice" or "step".
        unit: unit of the value; "x" for a ratio.
        at_least, at_most: target for the value, if there is one.
        by_default: whether it is measured when no rows are named.
    """

    name: str
    work: str
    measure: Callable[[Settings], Measured]
    first: str
    second: str = ""
    per: str = "slice"
    unit: str = "x"
    at_least: float | None = None
    at_most: float | None = None
    by_default: bool = True

    @property
    def target(self) -> str | None:
        """E.g. "at least 2.5x"; ``None`` without a target."""
        if self.at_least is not None:
            return f"at least {with_unit(f'{self.at_least:g}', self.unit)}"
        if self.at_most is not None:
            return f"at most {with_unit(f'{self.at_most:g}', self.unit)}"
        return None

    def run(self, settings: Settings) -> "Result":
        """Measure the case, or record why this machine cannot."""
        try:
            return Result(self, self.measure(settings))
        except NotMeasurable as reason:
            return Result(self, skipped=str(reason))


@dataclass(frozen=True)
class Result:
    """The measurement of a case, or the reason why it was skipped."""

    case: Case
    measured: Measured | None = None
    skipped: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; ``None`` without a target or a value."""
        if self.case.target is None or self.measured is None:
            return None
        value = self.measured.value
        if self.case.at_least is not None:
            return value >= self.case.at_least
        return value <= self.case.at_most

    @property
    def shown(self) -> str:
        """The value with its unit."""
        if self.measured is None:
            return "-"
        return with_unit(f"{self.measured.value:.2f}", self.case.unit)

    def to_json(self) -> dict[str, Any]:
        case, measured = self.case, self.measured
        timing = measured.comparison if measured else None
        return {
            "name": case.name,
            "work": case.work,
            "first": case.first,
            "second": case.second,
            "per": case.per,
            "target": case.target,
            "value": measured.value if measured else None,
            "value_unit": case.unit,
            "met": self.met,
            "skipped": self.skipped,
            "timing": timing.to_json() if timing else None,
            "facts": dict(measured.facts) if measured else {},
        }


def with_unit(number: str, unit: str) -> str:
    """E.g. "2.5x" or "3 GiB"."""
    return f"{number}{unit}" if unit == "x" else f"{number} {unit}".rstrip()
