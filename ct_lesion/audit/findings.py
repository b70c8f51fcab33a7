"""The findings of an audit, and the checks that it could not make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

LEAK_CODES = ("_in_two_groups", "_between_groups")
"""Suffixes of the codes of findings that are leaks between groups."""


class Severity(StrEnum):
    """Severity of a finding.

    ``ERROR``: results on these data would be wrong, or cannot be computed. ``WARNING``: results may
    be misleading; the user should check. ``NOTE``: background for interpreting the results.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """A problem in the data, or a fact that the user must know.

    Attributes:
        severity: error, warning or note.
        code: identifies the kind of finding, e.g. ``patient_in_two_groups``.
        what: one sentence, with numbers.
        where: all affected files, slices, patients or lines.
        advice: what the user should do.
    """

    severity: Severity
    code: str
    what: str
    where: Sequence[str] = ()
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "severity": str(self.severity),
            "code": self.code,
            "what": self.what,
            "count": len(self.where),
            "where": list(self.where),
            "advice": self.advice,
        }


class FaultKind(NamedTuple):
    """How a kind of fault is reported.

    Attributes:
        what: completes "1 of 20 images ..."; starts with "is" or "has".
    """

    severity: Severity
    what: str
    advice: str


def report_faults(
    kinds: Mapping[str, FaultKind],
    faults: Mapping[str, Sequence[str]],
    name: str,
    things: str,
    total: int,
) -> Iterator[Finding]:
    """Yield one finding for each kind of fault that occurs in an input.

    Args:
        kinds: by code, in the order of the findings.
        faults: places of the faults, by code.
        name: name of the input.
        things: what was checked, in the plural, e.g. ``images``.
        total: number of these things in the input.
    """
    for code, kind in kinds.items():
        places = faults.get(code)
        if places:
            what = f"{name}: {part(len(places), total, things, kind.what)}."
            yield Finding(kind.severity, code, what, places, kind.advice)


@dataclass(frozen=True)
class NotChecked:
    """A check that could not be made, and why."""

    check: str
    why: str


def by_reason(unchecked: Iterable[NotChecked]) -> dict[str, list[str]]:
    """Group the checks that could not be made by reason, without duplicates."""
    reasons: dict[str, dict[str, None]] = {}
    for item in unchecked:
        reasons.setdefault(item.why, {})[item.check] = None
    return {why: list(checks) for why, checks in reasons.items()}


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort errors first, then warnings, then notes; within a severity, leaks first."""
    order = list(Severity)
    return sorted(
        findings, key=lambda f: (order.index(f.severity), not f.code.endswith(LEAK_CODES))
    )


def count(number: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun: ``1 slice``, ``1,200 slices``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def part(number: int, total: int, things: str, what: str) -> str:
    """Format a share of a total: ``1 of 20 images is damaged``, ``3 of 20 images are damaged``.

    Args:
        things: plural noun.
        what: predicate in the singular; starts with "is" or "has".
    """
    verb, _, rest = what.partition(" ")
    if number != 1:
        verb = {"is": "are", "has": "have"}[verb]
    return f"{number:,} of {total:,} {things} {verb} {rest}"
