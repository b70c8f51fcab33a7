"""Names of scans and slices: safe as folder names, unique, and sorted with numbers in order."""

from __future__ import annotations

import re
from collections.abc import Iterable


def safe_name(text: str) -> str:
    """Replace all but letters, digits, dot, dash and underscore; never empty or hidden."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._-") or "scan"


def unique_names(names: Iterable[str]) -> list[str]:
    """Make names unique by appending -2, -3, ... to repeated ones.

    Names that differ only in case count as equal, because some file systems ignore case.
    """
    taken: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{name}-{number}"
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key with numbers in numeric order: ``slice2`` before ``slice10``."""
    parts = re.split(r"(\d+)", text.lower())
    key = [(1, int(p), "") if p.isdecimal() else (2, 0, p) for p in parts if p]
    return [*key, (0, 0, text)]  # shorter names first: "a" before "a1"; the text orders "1", "01"
