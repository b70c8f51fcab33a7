"""The findings of an audit, and the checks that it could not make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

LEAK_CODES = ("_in_two_groups", "_between_groups")
"""Endings of the codes of leaks between groups."""


class Severity(StrEnum):
    """How bad a finding is.

    ``ERROR``: results on these data would be wrong, or cannot be computed. ``WARNING``: results may
    be misleading; the user should look. ``NOTE``: context for reading the results.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """A problem or a fact about the data that the user must know.

    Attributes:
        severity: how bad it is.
        code: identifies the kind of finding, e.g. ``patient_in_two_groups``.
        what: one sentence, with numbers.
        where: all files, slices, patients or lines concerned.
        advice: what to do.
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
    """How a kind of fault is reported: ``what`` completes "3 images of 20 ..."."""

    severity: Severity
    what: str
    advice: str


def report_faults(
    kinds: Mapping[str, FaultKind],
    faults: Mapping[str, Sequence[str]],
    name: str,
    thing: str,
    total: int,
) -> Iterator[Finding]:
    """One finding for each kind of fault that occurs in an input.

    Args:
        kinds: by code, in the order of the findings.
        faults: places of the faults, by code.
        name: of the input.
        thing: what has the faults, e.g. ``image``.
        total: number of these things in the input.
    """
    for code, kind in kinds.items():
        places = faults.get(code)
        if places:
            what = f"{name}: {count(len(places), thing)} of {total:,} {kind.what}."
            yield Finding(kind.severity, code, what, places, kind.advice)


@dataclass(frozen=True)
class NotChecked:
    """A check that could not be made, and why."""

    check: str
    why: str


def by_reason(unchecked: Iterable[NotChecked]) -> dict[str, list[str]]:
    """The checks that could not be made, without repetitions, by reason."""
    reasons: dict[str, dict[str, None]] = {}
    for item in unchecked:
        reasons.setdefault(item.why, {})[item.check] = None
    return {why: list(checks) for why, checks in reasons.items()}


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; within a severity leaks first."""
    order = list(Severity)
    return sorted(
        findings, key=lambda f: (order.index(f.severity), not f.code.endswith(LEAK_CODES))
    )


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 slice``, ``1,200 slices``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
