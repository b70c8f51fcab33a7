"""A way to run a tool from another folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tool_runs import Outcome, run_in_process


@pytest.fixture
def run_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Callable[..., Outcome]:
    """Runs ``tools/<name>`` in this process, which saves the seconds of the imports.

    Keywords are environment variables.
    """

    def run(name: str, *arguments: object, **environment: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        return run_in_process(name, *arguments, monkeypatch=monkeypatch, capfd=capfd)

    return run
