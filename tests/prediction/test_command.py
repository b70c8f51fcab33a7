import cv2
import numpy as np
import pytest

from ct_lesion.errors import UserError
from ct_lesion.prediction.command import parse_arguments, run_command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "scans").mkdir()
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"scans/{index}.png"), np.full((8, 8), 99, np.uint8))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["scans", "--batch-size", "0"], "--batch-size must be 1 or more"),
        (["scans", "--top-slices", "-1"], "--top-slices 0 or more"),
        (["scans", "--window", "lung", "--window-level", "0"], "not both"),
        (["scans", "--lung-mask", "none.nii"], "none.nii: no such file or folder"),
        (["scans", "--opts", "MODEL.NOTHING", "1"], "MODEL.NOTHING"),
        (["scans", "--config-file", "none.yaml"], "none.yaml"),
        (["scans", "--device", "cuda:7"], "no GPU"),
        (["scans", "--score-thresh", "1.5"], "threshold is 1.5"),
        (["scans", "--classifier", "SEGMENTER"], "is not a classifier"),
    ],
)
def test_mistakes_are_said_before_anything_is_written(folder, segmenter_file, arguments, message):
    given = [str(segmenter_file) if a == "SEGMENTER" else a for a in arguments]
    with pytest.raises(UserError, match=message):
        run_command([*given, "--segmentation", str(segmenter_file), "--output", "out"])
    assert not (folder / "out").exists()


def test_a_number_after_hu_is_the_offset():
    fixed = ["a.png", "--segmentation", "w", "--output", "out"]
    assert parse_arguments(fixed).hu is None
    assert parse_arguments([*fixed, "--hu"]).hu == 0
    assert parse_arguments([*fixed, "--hu", "1024"]).hu == 1024


def test_predictions_below_the_input_are_no_input(folder, segmenter_file, capsys):
    command = [".", "--segmentation", str(segmenter_file), "--output", "scans/out"]
    command += ["--score-thresh", "0.2", "--device", "cpu"]
    assert run_command(command) == 0
    assert run_command(command) == 0
    assert "0 of 1 scans predicted, 1 were finished already" in capsys.readouterr().out
