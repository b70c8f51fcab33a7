"""Runs of the tools, in this process or as scripts."""

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from detectron2.utils.logger import setup_logger

from ct_lesion import command_line

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"


class Outcome(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


def script(name: str, *arguments: object) -> list[str]:
    """The command that runs ``tools/<name>`` as a process."""
    return [sys.executable, "-W", "ignore", str(TOOLS / name), *map(str, arguments)]


def load_tool(name: str) -> ModuleType:
    """The module ``tools/<name>``; processes that it starts can import it too."""
    if str(TOOLS) not in sys.path:
        sys.path.append(str(TOOLS))
    return importlib.import_module(Path(name).stem)


def run_in_process(
    name: str, *arguments: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Outcome:
    """Run a tool like ``python tools/<name>``, in this process; a bug raises its exception."""
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    capfd.readouterr()
    code = 0
    with loggers_restored():
        try:
            command_line.run_tool(load_tool(name).main)
        except SystemExit as stop:
            code = stop.code or 0
    printed = capfd.readouterr()
    return Outcome(code, printed.out, printed.err)


@contextmanager
def loggers_restored() -> Iterator[None]:
    """Undo the levels and handlers that a run sets, because pytest closes the handlers' streams."""
    names = [None, *logging.root.manager.loggerDict]
    before = {n: (log.handlers[:], log.level, log.propagate) for n, log in _loggers(names)}
    try:
        yield
    finally:
        for name, log in _loggers([None, *logging.root.manager.loggerDict]):
            log.handlers[:], level, log.propagate = before.get(name, ([], logging.NOTSET, True))
            log.setLevel(level)
        setup_logger.cache_clear()  # else Detectron2 sets a folder's handlers only once


def _loggers(names: list[str | None]) -> list[tuple[str | None, logging.Logger]]:
    return [(name, logging.getLogger(name)) for name in names]
