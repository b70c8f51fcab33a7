"""Scans shared by two processes: the same files, reported once."""

from pathlib import Path

import numpy as np
import pytest
from toy_checkpoints import SCORE_THRESH
from toy_scans import write_pictures

from ct_lesion.prediction.command import run_command

TIMED = ("manifest.json", "index.html")  # hold date and seconds


@pytest.fixture
def command(segmenter_file, classifier_file, tmp_path) -> list[str]:
    """Three scans and a file that is none; the output folder comes last."""
    rng = np.random.default_rng(0)
    for name in "abc":
        slices = rng.integers(0, 255, (3, 48, 64), np.uint8)
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


def test_two_processes_write_what_one_does(command, tmp_path, capfd):
    assert run_command([*command, str(tmp_path / "one")]) == 11
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_command([*command, str(tmp_path / "two"), "--processes", "2"])
    assert ended.value.code == 11, "10 and one more for the scan that failed"
    said = capfd.readouterr().out
    for line in ("4 scans found", "3 of 4 scans predicted, 1 failed", "failed: broken"):
        assert said.count(line) == 1, said
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one == two
    assert sum(name.endswith("instances.json") for name in two) == 3

    # all is finished but one scan, so that the second process has nothing to do
    with pytest.raises(SystemExit) as ended:
        run_command([*command, str(tmp_path / "two"), "--processes", "2"])
    said = capfd.readouterr().out
    assert "0 of 4 scans predicted, 3 were finished already, 1 failed" in said
    assert contents(tmp_path / "two") == two
