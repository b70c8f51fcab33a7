"""Names that are safe as folder names and all different, and the order people expect of them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def safe_name(text: str) -> str:
    """Letters, digits, dot, dash and underscore only; never empty, never hidden."""
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._-") or "scan"


def unique_names(names: Iterable[str]) -> list[str]:
    """The same names, with -2, -3, ... after those that stand before already.

    Letter case does not count, since some file systems ignore it.
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
    """Sorting key by which ``slice2`` comes before ``slice10``."""
    parts = re.split(r"(\d+)", text.lower())
    key = [(1, int(p), "") if p.isdecimal() else (2, 0, p) for p in parts if p]
    return [*key, (0, 0, text)]  # ends first: "a" before "a1"; the text itself settles "1", "01"
