"""A whole report of toy runs."""

import json
from pathlib import Path

import pytest

from ct_lesion.pages.tables import Table
from ct_lesion.report.build import build_report
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.page import write_report
from ct_lesion.report.runs.run_checks import RunError
from ct_lesion.report.runs.runs import load_runs

OPTIONS = ReportOptions(dataset="covidx_ct_test", resamples=2, per_class=4, draw_models=False)


def test_names_with_dollars_and_runs_that_the_dataset_leaves_out(
    classification_run, segmentation_run, tmp_path, capsys
):
    runs = load_runs([classification_run("a$b_{$\x1b[31m"), segmentation_run("other")])
    report = build_report(runs, OPTIONS)
    note = (
        "other was not evaluated on covidx_ct_test but on cncb_lesion_test, and is left out of "
        "the results."
    )
    assert report.facts["Left out"] == note
    assert f"note: {note}" in capsys.readouterr().out
    assert report.facts["Runs"] == "a$b_{$\\x1b[31m, other"
    assert report.facts["Evaluated on"] == "covidx_ct_test: 18 slices of 6 patients"
    (levels,) = (t for s in report.sections for t in s.of(Table) if "levels" in t.name)
    accuracy = next(row for row in levels.shown() if row[1] == "accuracy")
    assert report.facts["Classes"].startswith(f"accuracy {accuracy[2]} % by slice, ")
    assert "Lesion masks" not in report.facts
    page, *_ = write_report(tmp_path / "report", report.title, report.sections, report.facts)
    assert "is left out of the results" in page.read_text("utf-8")
    # as text, not as a formula
    assert "a$b_{$" in (tmp_path / "report/tables/table_3.md").read_text("utf-8")
    assert (tmp_path / "report/figures/training_curves.svg").is_file()


def test_a_validation_set_that_no_classifier_was_evaluated_on_is_refused(classification_run):
    options = ReportOptions(validation="nope", draw_models=False)
    with pytest.raises(RunError, match=r"on nope, only on covidx_ct_test. Correct --validation"):
        build_report(load_runs([classification_run()]), options)


def test_a_lesion_free_test_set_has_a_model_card(segmentation_run, tmp_path):
    folder = segmentation_run()
    (run,) = load_runs([lesion_free(folder)])
    options = ReportOptions(resamples=2, draw_models=False)
    report = build_report([run], options)
    write_report(tmp_path / "report", report.title, report.sections, report.facts)
    (card,) = (t for s in report.sections for t in s.of(Table) if t.name == "model_card")
    assert ["result", "mask AP undefined, mask AP50 undefined"] in card.rows
    assert report.facts["Lesion masks"] == (
        "mask AP undefined, AP50 undefined; 0 of 0 lesions found with 0 false detections (Table 2)."
    )
    assert "holds no lesion, so AP is undefined." in report.facts["Doubts"]


def lesion_free(folder: Path) -> Path:
    """The run after an evaluation without lesions and detections."""
    results = folder / "inference/cncb_lesion_test"
    truth = json.loads((results / "ground_truth.json").read_text())
    (results / "ground_truth.json").write_text(json.dumps(truth | {"annotations": []}))
    (results / "coco_instances_results.json").write_text("[]")
    metrics = json.loads((results / "segmentation_metrics.json").read_text())
    undefined = {"AP": None, "AP50": None, "AP75": None}
    for key in ("bbox", "segm"):
        metrics[key] = undefined
    metrics["paper_table_2"] |= {"coco": undefined, "release": undefined}
    metrics["lesions"] = {"lesions": 0, "found": 0, "false": 0}
    metrics["patients"] = {p: v | undefined for p, v in metrics["patients"].items()}
    (results / "segmentation_metrics.json").write_text(json.dumps(metrics))
    return folder
