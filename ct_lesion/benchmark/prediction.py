"""Peak memory of ``tools/predict.py`` on a whole volume."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.errors import UserError
from ct_lesion.phantom.patient import make_patient
from ct_lesion.scans.volume_writing import write_volume

from .inputs import segmenter
from .measure import Measured, Settings

GIB = 1024**3
LENGTHS = (150, 600)
"""Numbers of slices of the two volumes; comparing them shows how memory grows with length."""
DIFFERENT_SLICES = 10  # the volumes repeat these
PREDICT = Path(__file__).resolve().parents[2] / "tools" / "predict.py"

# On Linux a process inherits the peak of the process that forked it. A small process in between
# keeps the peak of the benchmark, which holds models and slices, out of the result.
_LAUNCHER = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[2:])
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1 if sys.platform == "darwin" else 1024
with open(sys.argv[1], "w") as file:
    json.dump([code, usage.ru_maxrss * scale, time.perf_counter() - began], file)
"""


def measure_prediction_memory(settings: Settings) -> Measured:
    """Peak memory of ``tools/predict.py`` on a long volume."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfg, model, about = segmenter(settings)
        weights = folder / "segmenter.safetensors"
        write_weights(weights, model.state_dict(), describe(cfg, class_names=["Lesion"]))
        facts = {"weights": about}
        for count in LENGTHS:
            volume = _write_volume(folder / f"{count}.nii.gz", count, settings.size)
            peak = peak_memory(
                [
                    sys.executable,
                    *(str(PREDICT), str(volume), "--segmentation", str(weights)),
                    *("--output", str(folder / "out"), "--device", "cpu"),
                ]
            )
            if peak.returncode:
                last_line = peak.output.strip().rpartition("\n")[2]
                raise UserError(
                    f"{PREDICT} failed on {count} slices with exit code {peak.returncode}: "
                    f"{last_line or 'no output'}"
                )
            facts[f"GiB, {count} slices"] = round(peak.gib, 3)
            facts[f"slices per second, {count} slices, start included"] = round(
                count / peak.seconds, 2
            )
    return Measured(peak.gib, facts)


def _write_volume(path: Path, count: int, size: int) -> Path:
    hu = make_patient(0, "NCP", size, DIFFERENT_SLICES).hu.astype(np.int16)
    image = sitk.GetImageFromArray(np.resize(hu, (count, size, size)))
    image.SetSpacing((0.7, 0.7, 1.0))
    write_volume(path, image)
    return path


class Peak(NamedTuple):
    """Result of a finished process.

    Attributes:
        returncode: 0 if it succeeded.
        gib: peak resident memory of the process or of its largest child.
        seconds: duration.
        output: the last part of its output, for an error message.
    """

    returncode: int
    gib: float
    seconds: float
    output: str


def peak_memory(command: Sequence[str]) -> Peak:
    """Run a command (program and arguments) and measure its peak memory.

    Raises:
        OSError: the command cannot be run.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, str(report), *command],
            capture_output=True,
            text=True,
            errors="replace",
        )
        if not report.is_file():
            raise OSError(f"{command[0]} could not be run: {done.stderr.strip()[-500:]}")
        code, size, seconds = json.loads(report.read_text(encoding="utf-8"))
    return Peak(code, size / GIB, seconds, (done.stdout + done.stderr)[-2000:])
