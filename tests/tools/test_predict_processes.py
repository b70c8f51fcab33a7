"""Two processes that share the scans: same files, one report."""

from pathlib import Path

import numpy as np
import pytest
from toy_checkpoints import SCORE_THRESH
from toy_scans import write_pictures

TIMED = ("manifest.json", "index.html")  # contain date and duration


@pytest.fixture
def command(segmenter_file, classifier_file, tmp_path) -> list[object]:
    """For three scans and a broken file; append the output folder."""
    rng = np.random.default_rng(0)
    for name in "abc":
        slices = rng.integers(0, 255, (3, 48, 64), np.uint8)
        write_pictures(tmp_path / "scans" / name, slices)
    (tmp_path / "scans/broken.nii.gz").write_bytes(b"no volume")
    models = ["--segmentation", segmenter_file, "--classifier", classifier_file]
    rest = ["--score-thresh", SCORE_THRESH, "--device", "cpu", "--output"]
    return [tmp_path / "scans", *models, *rest]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): b"" if path.name in TIMED else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_processes_write_the_same_files_as_one(command, run_tool, tmp_path):
    assert run_tool("predict.py", *command, tmp_path / "one").returncode == 11
    shared = [*command, tmp_path / "two", "--processes", 2]
    result = run_tool("predict.py", *shared)
    assert result.returncode == 11, "10 + one failed scan"
    for line in ("4 scans found", "3 of 4 scans predicted, 1 failed", "failed: broken"):
        assert result.stdout.count(line) == 1, result.stdout
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sum(name.endswith("instances.json") for name in two) == 3

    # only one scan is unfinished: the second process has nothing to do
    again = run_tool("predict.py", *shared)
    assert "0 of 4 scans predicted, 3 already finished, 1 failed" in again.stdout
    assert contents(tmp_path / "two") == two
