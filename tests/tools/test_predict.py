"""The prediction tool, as a command."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from toy_checkpoints import SCORE_THRESH

from ct_lesion.scans.windows import window_to_uint8


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A mixed folder: two scans of PNG slices, a text, and a volume that is none."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "scans" / name).mkdir(parents=True)
        for index in range(3):
            hu = rng.normal(-600, 300, (48, 64)).astype(np.float32)
            path = tmp_path / "scans" / name / f"{index}.png"
            cv2.imwrite(str(path), window_to_uint8(hu))
    (tmp_path / "scans/notes.txt").write_text("notes")
    return tmp_path / "scans"


@pytest.fixture
def predict(run_script, segmenter_file, tmp_path):
    def run(*arguments: object) -> subprocess.CompletedProcess:
        fixed = ["--segmentation", segmenter_file, "--output", tmp_path / "out", "--device", "cpu"]
        return run_script("predict.py", *arguments, *fixed, "--score-thresh", SCORE_THRESH)

    return run


def test_a_mixed_folder_with_a_broken_file(predict, pictures, tmp_path):
    (pictures / "broken.nii.gz").write_bytes(b"no volume")
    result = predict(pictures)
    assert result.returncode == 11, "10 and one more for the scan that failed"
    assert "Traceback" not in result.stderr
    assert "2 of 3 scans predicted, 1 failed. For research only." in result.stdout
    assert "notes.txt" in result.stdout
    assert str(tmp_path / "out/index.html") in result.stdout
    for name in ("a", "b"):
        summary = json.loads((tmp_path / f"out/{name}/summary.json").read_text("utf-8"))
        assert (summary["slices"], summary["size"]) == (3, [48, 64])
    (pictures / "broken.nii.gz").unlink()
    again = predict(pictures)
    assert again.returncode == 0
    assert "0 of 2 scans predicted, 2 were finished already" in again.stdout


def test_a_killed_command_goes_on_when_it_is_given_again(
    pictures, predict, segmenter_file, tmp_path
):
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-W", "ignore", repository / "tools/predict.py", pictures]
    command += ["--segmentation", segmenter_file, "--output", tmp_path / "out", "--device", "cpu"]
    command += ["--score-thresh", str(SCORE_THRESH)]
    with subprocess.Popen(list(map(str, command)), env={"PYTHONPATH": str(repository)}) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out/a/manifest.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finished = (tmp_path / "out/a/manifest.json").stat().st_mtime_ns
    result = predict(pictures)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/a/manifest.json").stat().st_mtime_ns == finished
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b", "index.html"]


def test_a_mistake_gets_one_line(predict, tmp_path):
    (tmp_path / "empty").mkdir()
    result = predict("empty")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: empty: no scan found.")
    assert not (tmp_path / "out").exists()


def test_pictures_of_a_real_scan(predict, shared, tmp_path):
    folder = shared / "data/ct_lesion_seg/image/15"
    result = predict(folder)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out/15/summary.json").read_text("utf-8"))
    assert summary["slices"] == len(list(folder.iterdir()))
    assert "windowed already" in result.stdout
