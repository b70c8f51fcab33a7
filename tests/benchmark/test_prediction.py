"""The peak memory of a process, without that of its parent."""

import sys

import numpy as np
import pytest

from ct_lesion.benchmark import prediction
from ct_lesion.benchmark.measure import Settings
from ct_lesion.benchmark.prediction import peak_memory


def allocate(mebibytes: int) -> list[str]:
    return [sys.executable, "-S", "-c", f"x = bytearray(b'1' * ({mebibytes} << 20)); print('done')"]


def test_the_parents_memory_does_not_count() -> None:
    held = np.ones(400 << 17)  # 400 MiB in this process
    # at the peak, the bytes and the bytearray both exist
    peak = peak_memory(allocate(100))
    assert held.all()
    assert peak.returncode == 0
    assert 200 / 1024 < peak.gib < 250 / 1024
    assert peak.output.strip() == "done"


def test_a_failure_keeps_the_output() -> None:
    peak = peak_memory([sys.executable, "-c", "import sys; sys.exit('no volume')"])
    assert peak.returncode == 1
    assert "no volume" in peak.output


def test_a_missing_program() -> None:
    with pytest.raises(OSError, match="no-such-program"):
        peak_memory(["no-such-program"])


def test_a_volume_is_predicted(monkeypatch):
    monkeypatch.setattr(prediction, "LENGTHS", (2,))
    measured = prediction.measure_prediction_memory(Settings(size=64, slices=2))
    assert 0.1 < measured.value < 8  # GiB
    assert set(measured.facts) == {
        "weights",
        "GiB, 2 slices",
        "slices per second, 2 slices, start included",
    }
