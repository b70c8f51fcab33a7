"""Runs readers on hostile files in processes with little memory and time.

``python sandbox.py`` imports everything once and then forks for each request, so that a crash, a
hang or the memory limit ends only that request. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

MEMORY = 1 << 30  # bytes of address space that a reader may add to those of the imports
MOST_MEGABYTES = 700  # of memory that a reader may add at its peak
SECONDS = 20  # of processor and of wall time
LARGEST_FILE = 1 << 28  # bytes that a reader may write into one file


@dataclass
class Outcome:
    """The result of reading one file.

    Attributes:
        status: "refused" (with a user error), "loaded", or what went wrong: "traceback", "killed
            by signal N", "exit N", "hang".
        error: class of the error.
        message: the error message, or what a tool printed on stderr.
        megabytes: memory that the reader added at its peak.
    """

    status: str
    error: str = ""
    message: str = ""
    megabytes: float = 0.0


class Sandbox:
    """A server process that reads files in forked children."""

    def __init__(self, repository: Path) -> None:
        folders = (repository, repository / "tests" / "helpers", Path(__file__).parent)
        path = os.pathsep.join(map(str, folders))
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def read(self, entry: str, paths: list[Path], folder: Path) -> list[Outcome]:
        """Read files by an entry of :mod:`entries`.

        Args:
            paths: read one after the other in one child; in a new one if it dies.
            folder: holds ``out`` and ``tmp``, where the readers may write.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(paths):
            rest = [str(path) for path in paths[len(outcomes) :]]
            request = {"entry": entry, "paths": rest, "folder": str(folder)}
            print(json.dumps(request), file=self._process.stdin, flush=True)
            answer = json.loads(self._process.stdout.readline())
            outcomes += [Outcome(**item) for item in answer]
        return outcomes

    def close(self) -> None:
        # Closing the pipe is not enough: processes that tests forked may hold its end open.
        print("null", file=self._process.stdin, flush=True)
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


def _serve() -> None:
    import entries  # slow, and not needed in the process of the tests

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for what libraries print
    for line in sys.stdin:
        request = json.loads(line)
        if request is None:
            return
        answers.write(json.dumps(_fork(entries.ENTRIES[request["entry"]], request)) + "\n")
        answers.flush()


def _fork(read: object, request: dict) -> list[dict]:
    """Outcomes of the paths, up to the first that kills the child."""
    log = Path(request["folder"]) / "outcomes"
    log.write_text("")
    child = os.fork()
    if child == 0:
        _child(read, request, log)
    status = _wait(child, SECONDS * (1 + len(request["paths"]) / 4))
    outcomes = [json.loads(line) for line in log.read_text().splitlines()]
    log.unlink()
    if len(outcomes) < len(request["paths"]):
        outcomes.append(asdict(Outcome(status)))
    return outcomes


def _wait(child: int, seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"killed by signal {-code}" if code < 0 else f"exit {code}"
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hang"


def _child(read: object, request: dict, log: Path) -> None:
    folder = Path(request["folder"])
    try:
        os.chdir(folder)
        os.environ["TMPDIR"] = str(folder / "tmp")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with log.open("a") as file:
            for path in request["paths"]:
                signal.alarm(SECONDS)
                outcome = _read_one(read, Path(path), folder / "out")
                file.write(json.dumps(asdict(outcome)) + "\n")
                file.flush()
    finally:
        os._exit(0)


def _read_one(read: object, path: Path, out: Path) -> Outcome:
    from ct_lesion.errors import UserError

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    printed = io.StringIO()
    outcome = Outcome("loaded")
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            read(path, out)
    except UserError as error:
        outcome = Outcome("refused", type(error).__name__, str(error))
    except SystemExit as error:
        status = {0: "loaded", 2: "refused"}.get(error.code, f"exit {error.code}")
        outcome = Outcome(status, "SystemExit", printed.getvalue())
    except BaseException as error:
        outcome = Outcome("traceback", type(error).__name__, traceback.format_exc()[-3000:])
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome.megabytes = (after - before) / 1024
    return outcome


if __name__ == "__main__":
    _serve()
