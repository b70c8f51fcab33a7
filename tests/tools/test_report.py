"""The report tool, on toy runs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import make_classification_run, make_segmentation_run, toy_slices

FAST = ["--resamples", 20, "--per-class", 4]


@pytest.fixture
def report(run_script, lesion_root, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    def run(*arguments: object) -> subprocess.CompletedProcess:
        output = ["--output", tmp_path / "report"]
        return run_script(
            "report.py", *FAST, *output, *arguments, DETECTRON2_DATASETS=str(lesion_root)
        )

    return run


def refused(result: subprocess.CompletedProcess, folder: Path) -> str:
    """The message of a refusal that left nothing behind."""
    assert result.returncode == 2, result.stdout
    assert "Traceback" not in result.stderr
    assert not (folder / "report").exists()
    return result.stderr


def test_everything_of_two_kinds_of_runs(report, datasets, tmp_path):
    segmentation = make_segmentation_run(tmp_path / "segmentation")
    classification = make_classification_run(
        tmp_path / "classification", datasets=("covidx_ct_test", "covidx_ct_val")
    )
    result = report(segmentation, classification)
    assert result.returncode == 0, result.stderr
    assert str(tmp_path / "report/report.html") in result.stdout
    numbers = json.loads((tmp_path / "report/report.json").read_text("utf-8"))
    tables = {name for s in numbers["sections"].values() for name in s["tables"]}
    assert {f"table_{i}" for i in range(1, 6)} <= tables
    assert {"classification_levels", "calibration", "model_card", "claim"} <= tables
    figures = {path.stem for path in (tmp_path / "report/figures").glob("*.png")}
    assert {"figure_2", "figure_3_1", "figure_4_1", "deletion_1", "training_curves"} <= figures
    assert "holds a report already" in report(segmentation).stderr
    assert report(segmentation, "--overwrite").returncode == 0


def test_one_class_missing_and_one_patient_only_are_said_and_no_failure(report, tmp_path):
    slices = [s for s in toy_slices() if s["patient"] == "0"]
    result = report(make_classification_run(tmp_path / "run", slices), "--no-models")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "report/report.html").read_text("utf-8")
    assert "holds no slice of Common Pneumonia or COVID-19" in page
    assert "one patient only" in page


def test_runs_of_different_slices_are_refused(report, tmp_path):
    a = make_classification_run(tmp_path / "a")
    b = make_classification_run(tmp_path / "b", toy_slices(patients=5))
    assert "were not evaluated on the same slices" in refused(report(a, b), tmp_path)


def test_runs_of_different_n_are_refused(report, tmp_path):
    a = make_classification_run(tmp_path / "a")
    b = make_classification_run(tmp_path / "b", n=4)
    assert "6 regions a slice in a and 4 regions a slice in b" in refused(report(a, b), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "is no run of tools/train_net.py"),
        (["run", "--dataset", "other"], "No run was evaluated on other"),
        (["run", "--metadata", "none.csv"], "--metadata and --subgroup go together"),
        (["run", "--metadata", "none.csv", "--subgroup", "sex"], "none.csv: cannot be read"),
        (["run", "--resamples", "0"], "must be 1 or more"),
        (["empty"], "holds no predictions"),
    ],
)
def test_mistakes_get_one_line(report, tmp_path, arguments, message):
    make_classification_run(tmp_path / "run")
    empty = make_classification_run(tmp_path / "empty")
    for path in (empty / "inference/covidx_ct_test").iterdir():
        path.unlink()
    name, *rest = arguments
    assert message in refused(report(tmp_path / name, *rest), tmp_path)
