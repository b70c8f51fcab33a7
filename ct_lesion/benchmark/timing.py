"""Two ways to do the same work, timed in turn.

A machine is never quite idle: what slows one way down for a minute slows the other down too if
they alternate, so the ratio of a round is steadier than either time.
"""

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Timed:
    """What a piece of work returns that knows its own time, e.g. an extrapolation.

    Attributes:
        units: how much was done, e.g. slices.
        seconds: how long it took.
    """

    units: float
    seconds: float


Work = Callable[[], float | Timed]
"""Does some work and returns the units done (slices, steps), or these with its own time."""


@dataclass(frozen=True)
class Sample:
    """One way in one round.

    Attributes:
        seconds: wall-clock time a unit.
        cpu_seconds: processor time of this process a unit, all threads together.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of the rounds."""

    median: float
    smallest: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """Two ways over all rounds.

    Attributes:
        first, second: seconds a unit.
        first_cpu, second_cpu: processor seconds a unit.
        ratio: seconds of the first over those of the second, round by round.
        rounds: how many.
    """

    first: Spread
    second: Spread
    first_cpu: Spread
    second_cpu: Spread
    ratio: Spread
    rounds: int

    @property
    def ratio_of_medians(self) -> float:
        """Median seconds of the first over those of the second: how many times faster it is."""
        return self.first.median / self.second.median

    def to_json(self) -> dict[str, Any]:
        return {"ratio_of_medians": self.ratio_of_medians, **asdict(self)}


def measure(work: Work) -> Sample:
    """Do the work once."""
    cpu_before, began = _cpu_seconds(), time.perf_counter()
    done = work()
    seconds, cpu = time.perf_counter() - began, _cpu_seconds() - cpu_before
    if isinstance(done, Timed):
        # a part stands for the whole, of the processor time as well
        cpu *= done.seconds / seconds
        done, seconds = done.units, done.seconds
    if done <= 0:
        raise ValueError(f"The work returned {done} units: there is nothing to divide the time by.")
    return Sample(seconds / done, cpu / done)


def compare(
    first: Work, second: Work, rounds: int, progress: Callable[[int], None] | None = None
) -> Comparison:
    """Time two ways in turn, after one round that does not count.

    Args:
        first, second: the two ways; each does at least one unit a call.
        rounds: how many times each.
        progress: called with the number of each finished round.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}, expected at least 1.")
    first()
    second()
    samples: list[tuple[Sample, Sample]] = []
    for number in range(rounds):
        samples.append((measure(first), measure(second)))
        if progress:
            progress(number + 1)
    a, b = zip(*samples, strict=True)
    return Comparison(
        first=Spread.of([s.seconds for s in a]),
        second=Spread.of([s.seconds for s in b]),
        first_cpu=Spread.of([s.cpu_seconds for s in a]),
        second_cpu=Spread.of([s.cpu_seconds for s in b]),
        ratio=Spread.of([x.seconds / y.seconds for x, y in samples]),
        rounds=rounds,
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
