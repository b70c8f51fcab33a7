"""The prediction tool as a command."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from tool_runs import REPOSITORY, Outcome, load_tool, script
from toy_checkpoints import SCORE_THRESH
from toy_scans import toy_hu, write_volume

from ct_lesion.scans.windows import window_to_uint8


@pytest.fixture
def pictures(tmp_path) -> Path:
    """A mixed folder: two scans of PNG slices and a text file."""
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
def options(segmenter_file, tmp_path) -> list[object]:
    output = ["--segmentation", segmenter_file, "--output", tmp_path / "out"]
    return [*output, "--device", "cpu", "--score-thresh", SCORE_THRESH]


@pytest.fixture
def predict(run_tool, options):
    def run(*arguments: object) -> Outcome:
        return run_tool("predict.py", *arguments, *options)

    return run


def test_a_mixed_folder_with_a_broken_file(predict, pictures, tmp_path):
    (pictures / "broken.nii.gz").write_bytes(b"no volume")
    result = predict(pictures)
    assert result.returncode == 11, "10 + one failed scan"
    assert "2 of 3 scans predicted, 1 failed. For research use only." in result.stdout
    assert "notes.txt" in result.stdout
    assert str(tmp_path / "out/index.html") in result.stdout
    for name in ("a", "b"):
        summary = json.loads((tmp_path / f"out/{name}/summary.json").read_text("utf-8"))
        assert (summary["slices"], summary["size"]) == (3, [48, 64])
    (pictures / "broken.nii.gz").unlink()
    again = predict(pictures)
    assert again.returncode == 0
    assert "0 of 2 scans predicted, 2 already finished" in again.stdout
    # a scan that lacks slices is predicted, and reported as incomplete by this run and the next
    (pictures / "a/3.png").symlink_to("nowhere")
    changed = predict(pictures)
    assert changed.returncode == 2
    assert "contains a (other unreadable files beside it). Choose" in changed.stderr
    for arguments, counts in (
        (["--overwrite"], "2 of 2 scans predicted, 1 incomplete"),
        ([], "0 of 2 scans predicted, 2 already finished, 1 incomplete"),
    ):
        result = predict(pictures, *arguments)
        assert result.returncode == 3
        assert counts in result.stdout
        assert "slices are missing (see qc in summary.json): a\n" in result.stdout
    summaries = [json.loads((tmp_path / f"out/{n}/summary.json").read_text()) for n in "ab"]
    assert [s["incomplete"] for s in summaries] == [True, False]
    (finding,) = (f for f in summaries[0]["qc"] if f["code"] == "unreadable_files")
    assert finding["message"] == (
        "1 file beside the slices cannot be read, so slices may be missing: 3.png"
    )


def test_a_killed_command_resumes_when_it_is_run_again(pictures, predict, options, tmp_path):
    command = script("predict.py", pictures, *options)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "out/a/manifest.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    finished = (tmp_path / "out/a/manifest.json").stat().st_mtime_ns
    result = predict(pictures)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/a/manifest.json").stat().st_mtime_ns == finished
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "b", "index.html"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty: no scan found"),
        (["scans", "--batch-size", "0"], "--batch-size and --processes must be 1 or more"),
        (["scans", "--processes", "0"], "--batch-size and --processes must be 1 or more"),
        (["scans", "--top-slices", "-1"], "--top-slices 0 or more"),
        (["scans", "--window", "lung", "--window-level", "0"], "not both"),
        (["scans/a", "--lungs", "none.nii"], "none.nii does not exist"),
        (["scans", "--opts", "MODEL.NOTHING", "1"], "MODEL.NOTHING"),
        (["scans", "--opts", "SEED"], "--opts SEED: expected pairs of KEY and VALUE"),
        (["--opts", "SEED", "1", "scans"], "scans was read as a KEY of --opts"),
        (["--opts", "SEED", "1"], "No INPUT"),
        (["scans", "--config-file", "none.yaml"], "none.yaml"),
        (["scans", "--device", "cuda:7"], "no GPU"),
        (["scans", "--score-thresh", "1.5"], "threshold is 1.5"),
        (["scans", "--classifier", "SEGMENTER"], "is not a classifier"),
    ],
)
def test_wrong_arguments_are_user_errors(
    run_tool, pictures, options, segmenter_file, tmp_path, arguments, message
):
    (tmp_path / "empty").mkdir()
    given = [segmenter_file if a == "SEGMENTER" else a for a in arguments]
    result = run_tool("predict.py", *options, *given)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_number_after_hu_is_the_offset():
    parse = load_tool("predict.py").parse_arguments
    fixed = ["a.png", "--segmentation", "w", "--output", "out"]
    assert parse(fixed).hu is None
    assert parse([*fixed, "--hu"]).hu == 0
    assert parse([*fixed, "--hu", "1024"]).hu == 1024


@pytest.mark.parametrize("word", ["pics/", "nan", "inf"])
def test_an_input_after_hu_is_named(word, capsys):
    with pytest.raises(SystemExit):
        load_tool("predict.py").parse_arguments(["--hu", word, "--segmentation", "w"])
    assert f"{word!r} is not a finite number. Put INPUT before --hu" in capsys.readouterr().err


def test_an_output_folder_in_the_input_folder_is_not_predicted(run_tool, pictures, options):
    fixed = [*options, "--output", "scans/out"]
    assert run_tool("predict.py", "scans", *fixed).returncode == 0
    again = run_tool("predict.py", "scans", *fixed)
    assert again.returncode == 0
    assert "0 of 2 scans predicted, 2 already finished" in again.stdout
    only_output = run_tool("predict.py", "scans/out", *fixed)
    assert "all scans found are earlier predictions" in only_output.stderr


def test_pictures_of_a_real_scan(predict, shared, tmp_path):
    folder = shared / "data/ct_lesion_seg/image/15"
    result = predict(folder)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out/15/summary.json").read_text("utf-8"))
    assert summary["slices"] == len(list(folder.iterdir()))
    assert "already windowed" in result.stdout


def test_the_window_of_the_command_overrules_that_of_the_weights(predict, segmenter_file, tmp_path):
    write_volume(tmp_path / "scan.nii.gz", toy_hu())
    result = predict("scan.nii.gz")
    assert "warning: the model does not record how its training images were made" in result.stdout
    weights = ["--opts", "INPUT.WINDOW.KIND", "range", "INPUT.WINDOW.SIDE", "256"]
    result = predict("scan.nii.gz", "--overwrite", "--window", "bone", *weights)
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "out/scan/summary.json").read_text("utf-8"))
    assert summary["windows"]["segmentation"]["level"] == 400
    assert any(
        "given window bone" in note and "made with the window range" in note
        for note in summary["notes"]
    )


def test_without_options_the_shipped_model_predicts_into_predictions(run_tool, pictures, tmp_path):
    result = run_tool("predict.py", pictures / "a")
    assert result.returncode == 0, result.stderr
    origin = "public_ct_resnet18_t1, trained on 12 COVID-19 patients"
    assert origin in result.stdout
    assert "Not for clinical use" in result.stdout
    assert "Output:  predictions" in result.stdout
    summary = json.loads((tmp_path / "predictions/a/summary.json").read_text("utf-8"))
    assert summary["models"]["segmentation"]["name"] == "public_ct_resnet18_t1"
    page = (tmp_path / "predictions/index.html").read_text("utf-8")
    assert "12 COVID-19 patients" in page and "CC BY-NC-SA 4.0" in page


def test_an_unknown_shipped_model_is_a_user_error(run_tool, pictures):
    result = run_tool("predict.py", pictures, "--segmentation", "ct_lesion://nothing")
    assert result.returncode == 2
    assert "ct_lesion://public_ct_resnet18_t1" in result.stderr
