"""The peak of memory of a process."""

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .row import SkipRow

GIB = 1024**3

# On Linux a process starts with the peak of the process it was forked from. A small one in
# between keeps the peak of a benchmark, which may hold models and slices, out of the number.
_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w") as file:
    json.dump([code, usage.ru_maxrss * scale, time.perf_counter() - began], file)
"""


@dataclass(frozen=True)
class Peak:
    """A finished process.

    Attributes:
        returncode: 0 if it succeeded.
        gib: peak of its resident memory; of its children each counts on its own, and the largest
            one stands.
        seconds: how long it ran.
        output: the end of what it printed, for a message.
    """

    returncode: int
    gib: float
    seconds: float
    output: str


def peak_memory(command: Sequence[str], env: Mapping[str, str] | None = None) -> Peak:
    """Run a command to its end and see how much memory it took at its peak.

    Args:
        command: program and arguments.
        env: its environment, this one's by default.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, str(report), *command],
            capture_output=True,
            text=True,
            errors="replace",
            env=None if env is None else dict(env),
        )
        if not report.is_file():
            raise OSError(f"{command[0]} could not be run: {done.stderr.strip()[-500:]}")
        code, size, seconds = json.loads(report.read_text(encoding="utf-8"))
    return Peak(code, size / GIB, seconds, (done.stdout + done.stderr)[-2000:])


def resident_memory() -> int:
    """Bytes of this process that are in memory now.

    Raises:
        SkipRow: this system does not tell.
    """
    status = Path("/proc/self/statm")
    if not status.is_file():
        raise SkipRow("memory now is read from /proc, which this system lacks")
    return int(status.read_text().split()[1]) * resource.getpagesize()
