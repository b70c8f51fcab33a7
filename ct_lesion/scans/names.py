"""Names of scans and slices: safe as folder names, unique, and sorted with numbers in order."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

MOST_NAMED = 3  # files or scans, in a message
_LONGEST = 100  # characters; file systems allow 255 bytes, and endings are added
_HASH_DIGITS = 8
# a dash is a minus sign unless it follows a letter or digit; only negative numbers may have a
# fraction, because "1.2.840" is a UID
_NUMBER = re.compile(r"((?<![^\W_])-\d+(?:\.\d+)?|\d+)")


def safe_name(text: str) -> str:
    """A folder name of ASCII letters, digits, dot, dash and underscore; never empty or hidden.

    Different texts get different names: if the text is changed, the name ends in a hash of it.
    """
    name = re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII).strip("._-")[:_LONGEST]
    if name and name == text:
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{name or 'scan'}-{digest[:_HASH_DIGITS]}"


def some_names(paths: Sequence[Path]) -> str:
    """The names of the first files, for a message."""
    return ", ".join(path.name for path in paths[:MOST_NAMED]) + (
        ", ..." if len(paths) > MOST_NAMED else ""
    )


def unique_names(names: Iterable[str], reserved: Iterable[str] = ()) -> list[str]:
    """Make names unique by appending -2, -3, ... to repeated and to reserved ones.

    Names that differ only in case count as equal, because some file systems ignore case.
    """
    taken = {name.lower() for name in reserved}
    # the last number tried for each name, so that many equal names do not try all numbers
    unique, numbers = [], Counter[str]()
    for name in names:
        candidate, key = name, name.lower()
        while candidate.lower() in taken:
            numbers[key] = max(numbers[key], 1) + 1
            candidate = f"{name}-{numbers[key]}"
        taken.add(candidate.lower())
        unique.append(candidate)
    return unique


def natural_key(text: str) -> list[tuple[int, float, str]]:
    """Sort key with numbers in numeric order: ``slice2`` before ``slice10``.

    ``z_-5`` comes before ``z_3``. After a letter or digit, a dash is not a sign: ``scan-10`` has
    the number 10.
    """
    key = [
        (1, float(part) if "." in part else _whole(part), "") if place % 2 else (2, 0, part)
        for place, part in enumerate(_NUMBER.split(text.lower()))  # numbers at odd places
        if part
    ]
    return [*key, (0, 0, text)]  # "a" before "a1"; the text orders "1" and "01"


def _whole(digits: str) -> float:
    return int(digits) if len(digits) < _LONGEST else float(digits)  # int() refuses 5,000 digits
