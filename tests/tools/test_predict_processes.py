"""Two processes share the scans of a run: the same files as with one, each reported once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_checkpoints import SCORE_THRESH
from toy_scans import write_pictures

TIMED = ("manifest.json", "index.html")  # contain date and duration


@pytest.fixture
def command(segmenter_file, classifier_file, tmp_path) -> list[object]:
    """Arguments for three scans and a damaged file, to which the output folder is appended."""
    rng = np.random.default_rng(0)
    for name in "abc":
        slices = rng.integers(0, 255, (2, 48, 64), np.uint8)
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


def test_two_processes_write_the_files_of_one(command, run_tool, tmp_path):
    assert run_tool("predict.py", *command, tmp_path / "one").returncode == 11
    shutil.copytree(tmp_path / "one/a", tmp_path / "two/a")  # finished by an earlier run
    result = run_tool("predict.py", *command, tmp_path / "two", "--processes", 2)
    assert result.returncode == 11, "10 plus the number of failed scans"
    for line in (
        "4 scans found",
        "2 of 4 scans predicted, 1 already finished, 1 failed",
        "failed: broken",
    ):
        assert result.stdout.count(line) == 1, result.stdout
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sum(name.endswith("instances.json") for name in two) == 3
