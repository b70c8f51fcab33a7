"""What an audit finds, and what it could not check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LEAK_CODES = ("_in_two_groups", "_between_groups")
"""Ends of the codes of what is in two groups."""


class Severity(StrEnum):
    """How bad a finding is.

    ``ERROR``: results on these data would be wrong, or some cannot be computed. ``WARNING``: they
    may be misleading; look at it. ``NOTE``: to know when reading results.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Something about the data that a user must know.

    Attributes:
        severity: how bad it is.
        code: the same for the same kind of finding, e.g. ``patient_in_two_groups``.
        what: one sentence, with numbers.
        where: files, slices, patients or lines, all of them.
        advice: what to do.
        numbers: behind the sentence, as plain values.
    """

    severity: Severity
    code: str
    what: str
    where: Sequence[str] = ()
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "severity": str(self.severity),
            "code": self.code,
            "what": self.what,
            "count": len(self.where),
            "where": list(self.where),
            "advice": self.advice,
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True)
class NotChecked:
    """A check that could not be made, and why."""

    check: str
    why: str


def by_reason(unchecked: Iterable[NotChecked]) -> dict[str, list[str]]:
    """Why, and all checks that were not made for that reason."""
    reasons: dict[str, list[str]] = {}
    for one in unchecked:
        checks = reasons.setdefault(one.why, [])
        if one.check not in checks:
            checks.append(one.check)
    return reasons


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; leaks before anything else of a severity."""
    order = list(Severity)
    return sorted(
        findings, key=lambda f: (order.index(f.severity), not f.code.endswith(LEAK_CODES))
    )


def count_severities(findings: Iterable[Finding]) -> dict[str, int]:
    """Number of findings of each severity."""
    severities = [finding.severity for finding in findings]
    return {str(severity): severities.count(severity) for severity in Severity}


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 slice``, ``1,200 slices``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
