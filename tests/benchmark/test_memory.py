"""The peak of a process is its own, not that of the process that started it."""

import sys

import numpy as np
import pytest

from ct_lesion.benchmark.memory import peak_memory


def allocate(mebibytes: int) -> list[str]:
    return [sys.executable, "-S", "-c", f"x = bytearray(b'1' * ({mebibytes} << 20)); print('done')"]


def test_peak_is_of_the_process_alone() -> None:
    own = np.ones(400 << 17)  # 400 MiB in this process
    # the bytes and the bytearray are both there at the peak
    peak = peak_memory(allocate(100))
    assert own.all()
    assert peak.returncode == 0
    assert 200 / 1024 < peak.gib < 250 / 1024
    assert peak.output.strip() == "done"


def test_a_failure_keeps_what_was_printed() -> None:
    peak = peak_memory([sys.executable, "-c", "import sys; sys.exit('no volume')"])
    assert peak.returncode == 1
    assert "no volume" in peak.output


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        peak_memory(["no-such-program"])
