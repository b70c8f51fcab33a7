"""Two processes share the scans of a run: the same files as with one, each reported once."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_checkpoints import SCORE_THRESH
from toy_scans import write_pictures

from ct_lesion.prediction.command import run_command

TIMED = ("manifest.json", "index.html")  # hold date and seconds


@pytest.fixture
def command(segmenter_file, classifier_file, tmp_path) -> list[str]:
    """Arguments for three scans and a damaged file, to which the output folder is appended."""
    rng = np.random.default_rng(0)
    for name in "abc":
        slices = rng.integers(0, 255, (2, 48, 64), np.uint8)
        write_pictures(tmp_path / "scans" / name, slices)
    (tmp_path / "scans/broken.nii.gz").write_bytes(b"no volume")
    models = ["--segmentation", segmenter_file, "--classifier", classifier_file]
    rest = ["--score-thresh", SCORE_THRESH, "--device", "cpu", "--output"]
    return [str(tmp_path / "scans"), *map(str, [*models, *rest])]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): b"" if path.name in TIMED else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_two_processes_write_the_files_of_one(command, tmp_path, capfd):
    assert run_command([*command, str(tmp_path / "one")]) == 11
    shutil.copytree(tmp_path / "one/a", tmp_path / "two/a")  # finished by an earlier run
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command([*command, str(tmp_path / "two"), "--processes", "2"])
    assert ended.value.code == 11, "10 plus the number of failed scans"
    out = capfd.readouterr().out
    for line in (
        "4 scans found",
        "2 of 4 scans predicted, 1 were finished already, 1 failed",
        "failed: broken",
    ):
        assert out.count(line) == 1, out
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sum(name.endswith("instances.json") for name in two) == 3
