"""Ways to run a tool from another folder: in this process, or as a script as a user does."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tool_runs import REPOSITORY, Outcome, run_as_script, run_in_process


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Runs ``tools/<name>`` as a process; keywords are environment variables."""

    def run(name: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
        return run_as_script(name, *arguments, cwd=tmp_path, env=env)

    return run


@pytest.fixture
def run_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> Callable[..., Outcome]:
    """Runs ``tools/<name>`` in this process, which saves the seconds of the imports."""

    def run(name: str, *arguments: object, **environment: str) -> Outcome:
        monkeypatch.chdir(tmp_path)
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        return run_in_process(name, *arguments, monkeypatch=monkeypatch, capfd=capfd)

    return run
