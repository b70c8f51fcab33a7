"""The cases of the corpus: a file, its reader, and the expected outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REFUSED = "refused"
LOADED = "loaded"
MIXED = "mixed"
CANARY = "canary"
"""Name of the file that a call in a hostile file would create in its reader's folder."""


@dataclass(frozen=True)
class Case:
    """A hostile or damaged file, or several of one kind.

    Attributes:
        name: shown in the test's id.
        entry: name of the reader in :mod:`entries`.
        build: writes the files into a folder and returns what the reader gets.
        match: regular expression that each error's text must match; ``LOADED`` if the file is read.
        mixed: set if some of the files must be refused and others read; tells why the damage of
            the latter cannot be detected.
    """

    name: str
    entry: str
    build: Callable[[Path], Path | list[Path]]
    match: str
    mixed: str = ""

    @property
    def expected(self) -> str:
        return LOADED if self.match == LOADED else MIXED if self.mixed else REFUSED

    @property
    def id(self) -> str:
        return f"{self.entry}-{self.name.replace(' ', '_')}"


def many(folder: Path, variants: list[bytes], suffix: str) -> list[Path]:
    """Write variants of a file's bytes under numbered names."""
    paths = [folder / f"{number:03d}{suffix}" for number in range(len(variants))]
    for path, content in zip(paths, variants, strict=True):
        path.write_bytes(content)
    return paths


def cut(data: bytes, pieces: int = 12) -> list[bytes]:
    """Truncated copies of the file, from empty to nearly complete."""
    return [data[: len(data) * piece // pieces] for piece in range(pieces)]


def flipped(data: bytes, count: int = 40) -> list[bytes]:
    """Copies of the file, each with one byte inverted, at places spread over the file."""
    # half of them at the beginning, where headers are
    head = min(len(data), 400)
    places = [head * i // (count // 2) for i in range(count // 2)]
    places += [len(data) * i // (count // 2) for i in range(count // 2)]
    return [data[:p] + bytes([data[p] ^ 0xFF]) + data[p + 1 :] for p in places]


def file(name: str, data: bytes | str) -> Callable[[Path], Path]:
    """Builds a file of this name and content."""

    def build(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return path

    return build


def variants(
    name: str, entry: str, contents: list[bytes], suffix: str, match: str, mixed: str = ""
) -> Case:
    """A case of several files."""
    return Case(name, entry, lambda folder: many(folder, contents, suffix), match, mixed)
