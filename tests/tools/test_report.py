"""The report tool on toy runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from other_job import holding
from tool_runs import Outcome
from toy_runs import make_classification_run, make_segmentation_run, toy_slices

from ct_lesion.files import locked_names

FAST = ["--resamples", 20, "--per-class", 4]


@pytest.fixture
def report(run_tool, datasets, tmp_path) -> Callable[..., Outcome]:
    def run(*arguments: object) -> Outcome:
        return run_tool("report.py", *FAST, "--output", tmp_path / "report", *arguments)

    return run


@pytest.fixture(scope="module")
def classification(tmp_path_factory) -> Path:
    """A run that tests share: change a copy only."""
    return make_classification_run(tmp_path_factory.mktemp("runs") / "classification")


def refused(result: Outcome, folder: Path) -> str:
    """The error message, after a check that nothing was written."""
    assert result.returncode == 2, result.stdout
    assert not (folder / "report").exists()
    return result.stderr


def test_report_of_a_segmenter_and_a_classifier(report, tmp_path):
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
    assert "already holds a report" in report(segmentation).stderr


def test_missing_classes_and_a_single_patient_are_explained(report, tmp_path):
    slices = [s for s in toy_slices() if s["patient"] == "0"]
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.html").write_text("an earlier report")
    run = make_classification_run(tmp_path / "run", slices)
    result = report(run, "--no-models", "--overwrite")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "report/report.html").read_text("utf-8")
    assert "holds no slice of Common Pneumonia or COVID-19" in page
    assert "only one patient" in page


def test_runs_of_different_slices_are_refused(report, classification, tmp_path):
    other = make_classification_run(tmp_path / "other", toy_slices(patients=5))
    message = refused(report(classification, other), tmp_path)
    assert "were not evaluated on the same slices" in message


def test_runs_of_different_n_are_refused(report, classification, tmp_path):
    other = make_classification_run(tmp_path / "other", n=4)
    message = refused(report(classification, other), tmp_path)
    assert "6 regions per slice in classification and 4 regions per slice in other" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "other"], "No run was evaluated on other"),
        (["--metadata", "none.csv"], "--metadata and --subgroup need each other"),
        (["--metadata", "none.csv", "--subgroup", "sex"], "none.csv cannot be read"),
        (["--resamples", "0"], "must be 1 or more"),
    ],
)
def test_wrong_options_are_user_errors(report, classification, tmp_path, arguments, message):
    assert message in refused(report(classification, *arguments), tmp_path)


def test_folders_without_an_evaluated_run_are_user_errors(report, classification, tmp_path):
    assert "does not exist. Give an OUTPUT_DIR" in refused(report(tmp_path / "nothing"), tmp_path)
    empty = shutil.copytree(classification, tmp_path / "empty")
    for path in (empty / "inference/covidx_ct_test").iterdir():
        path.unlink()
    assert "holds no predictions" in refused(report(empty), tmp_path)


def test_a_second_report_in_the_folder_is_refused(report, classification, tmp_path):
    with holding(locked_names(tmp_path / "report")) as pid:
        message = refused(report(classification), tmp_path)
    assert f"report is being written by process {pid} on " in message
