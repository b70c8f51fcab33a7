"""The rooms of ct_lesion: which may import which, and how many files a folder holds.

Imports are read from the source. Package names in strings count as imports, because loaders of
templates and optional modules take such strings.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "ct_lesion"
MOST_FILES = 15  # in a folder, beside __init__.py

# Modules that every room may import.
GROUND = {"errors", "version", "files", "locks", "json_files", "yaml_files", "pictures"}
GROUND |= {"command_line", "config_values", "folders", "csv_cells", "warning_filters"}
GROUND |= {"zip_files"}
# What a room may import besides GROUND; it may also import what those rooms may import.
MAY_IMPORT = {
    "config_values": set(),
    "config": {"config_values"},
    "modeling": {"config"},
    "pages": set(),
    "scans": {"config"},
    "lesions": {"scans"},
    "data": {"scans"},
    "phantom": {"scans", "data"},
    "evaluation": {"data", "modeling"},
    "checkpoint": {"config"},
    "engine": {"modeling", "phantom", "evaluation", "checkpoint"},
    "prediction": {"engine", "lesions", "pages"},
    "export": {"prediction"},
    "report": {"engine", "evaluation", "pages"},
    "audit": {"data", "evaluation", "pages"},
    "benchmark": {"audit", "export", "prediction", "report"},
}
PACKAGE_NAME = re.compile(r"ct_lesion(\.\w+)+")


def room_of(module: str) -> str:
    """``"data"`` of ``"ct_lesion.data.datasets.cncb"``; ``""`` for the package itself."""
    return (module.split(".") + [""])[1]


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name, except ``ct_lesion`` itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name != "ct_lesion":
            found[name] = path
    return found


def imports(module: str, path: Path) -> Iterator[str]:
    """Dotted names of ct_lesion's modules that a module imports or names in a string."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("ct_lesion."))
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*(base if node.level else []), *filter(None, [node.module])])
            if source == "ct_lesion":
                yield from (f"ct_lesion.{alias.name}" for alias in node.names)
            elif source.startswith("ct_lesion."):
                yield source
        elif id(node) not in prose and PACKAGE_NAME.fullmatch(str(getattr(node, "value", ""))):
            yield node.value


def imports_between_rooms() -> dict[tuple[str, str], list[str]]:
    """The imports of each pair of rooms (importing, imported), a line of text for each."""
    found = defaultdict(list)
    for module, path in modules().items():
        for imported in imports(module, path):
            if room_of(imported) != room_of(module):
                found[room_of(module), room_of(imported)].append(f"{module} imports {imported}")
    return found


def reachable(room: str) -> set[str]:
    """Every room that a room may import, directly or through another."""
    below = MAY_IMPORT[room]
    return below.union(*(reachable(name) for name in below), GROUND)


def test_no_import_points_upwards() -> None:
    wrong = [
        line
        for (room, imported), lines in imports_between_rooms().items()
        if imported not in (GROUND if room in GROUND else reachable(room))
        for line in lines
    ]
    assert not wrong


def test_every_room_is_known() -> None:
    assert {room_of(module) for module in modules()} == {*GROUND, *MAY_IMPORT}


def test_no_two_rooms_import_each_other() -> None:
    graph = defaultdict(set)
    for room, imported in imports_between_rooms():
        graph[room].add(imported)
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_folders_are_small() -> None:
    counts = defaultdict(int)
    for path in PACKAGE.rglob("*.py"):
        counts[path.parent.relative_to(REPOSITORY).as_posix()] += path.name != "__init__.py"
    assert {folder: n for folder, n in counts.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from ct_lesion.errors import UserError", ["ct_lesion.errors"]),
        ("from ct_lesion import pages", ["ct_lesion.pages"]),
        ("import ct_lesion.files", ["ct_lesion.files"]),
        ("from ..scans import scan", ["ct_lesion.scans"]),
        ("from . import x", ["ct_lesion.data"]),
        ('loader("ct_lesion.pages")', ["ct_lesion.pages"]),
        ('"""ct_lesion.report"""', []),
        ("import os", []),
    ],
)
def test_how_imports_are_read(source: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "cncb.py"
    path.write_text(source)
    assert list(imports("ct_lesion.data.cncb", path)) == expected
