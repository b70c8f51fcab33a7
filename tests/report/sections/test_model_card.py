import json

import pytest

from ct_lesion import load_config
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.sections.model_card import (
    FOR_AUTHORS,
    claim_table,
    model_card_table,
    shared_patient_cautions,
)
from ct_lesion.scans.windows import Window


def test_the_card_names_training_and_test_sets(classification_run, segmentation_run):
    runs = load_runs([classification_run(), segmentation_run()])
    table = model_card_table(runs, ReportOptions())
    facts = {row[0]: row[1:] for row in table.rows}
    assert facts["classes"] == ["Control, Common Pneumonia, COVID-19", "Lesion"]
    assert facts["evaluated on"] == [
        "covidx_ct_test: 18 slices of 6 patients",
        "cncb_lesion_test: 6 slices of 2 patients",
    ]
    assert "Adam, rate 1e-05" in facts["training"][0]
    assert facts["window of the slices"] == ["unknown", "unknown"]
    assert len(facts["weights, SHA-256"][1]) == 64


def test_the_checklist_is_complete_and_leaves_most_items_to_the_authors(classification_run):
    table = claim_table(load_runs([classification_run()]), ReportOptions())
    assert [row[0] for row in table.rows] == [str(i) for i in range(1, 43)]
    answers = {row[0]: row[3] for row in table.rows}
    assert answers["40"] == FOR_AUTHORS
    assert "bootstrap over patients" in answers["29"]


@pytest.mark.parametrize(("period", "too_good"), [(0, False), (10, True)])
def test_a_later_evaluation_does_not_change_the_training_on_the_card(
    segmentation_run, period, too_good
):
    folder = segmentation_run()
    overrides = ["MODEL.WEIGHTS", "first.pth", "SOLVER.BASE_LR", 0.5, "TEST.EVAL_PERIOD", period]
    overrides += ["DATASETS.TEST", "('cncb_lesion_test',)"]
    trained = load_config("segmentation/resnet18_t2.yaml", overrides)
    Window(kind="range", clahe=7, side=256).into_config(trained)
    record = {"seconds": 60, "config": trained.dump(), "stopped_early": "no better"}
    keys = {"SOLVER.BASE_LR": [0.1, 0.5], "SEED": [1, 2]}
    record["changed_on_resume"] = [{"iteration": 1200, "keys": keys}]
    (folder / "training.json").write_text(json.dumps(record))
    evaluated = load_config(str(folder / "config.yaml"), ["MODEL.WEIGHTS", "model_best.pth"])
    (folder / "config.yaml").write_text(evaluated.dump())
    runs = load_runs([folder])
    facts = {row[0]: row[1] for row in model_card_table(runs, ReportOptions()).rows}
    assert facts["start"] == "first.pth"
    assert "rate 0.5" in facts["training"]
    changed = "from iteration 1,200 on: SOLVER.BASE_LR 0.1 -> 0.5, SEED 1 -> 2"
    assert facts["changed on resume"] == changed
    assert facts["stopped early"] == "no better"
    assert "CLAHE with clip limit 7, shrunk to 256 px" in facts["window of the slices"]
    chosen = {row[0]: row[3] for row in claim_table(runs, ReportOptions()).rows}["26"]
    assert "segm/AP on cncb_lesion_test" in chosen
    assert ("too optimistic" in chosen) == too_good


@pytest.mark.parametrize("patients", [["4", "7"], []])
def test_training_on_patients_of_the_test_set_raises_a_warning(segmentation_run, patients):
    folder = segmentation_run()
    pair = {"train": "cncb_lesion_train", "test": "cncb_lesion_test", "patients": patients}
    compared = {
        "train": {"cncb_lesion_train": 2},
        "test": {"cncb_lesion_test": 2},
        "shared": [pair] if patients else [],
        "allowed": True,
        "not_checked": {},
    }
    (folder / "training.json").write_text(json.dumps({"seconds": 60, "patients": compared}))
    runs = load_runs([folder])
    (answer,) = (
        row[1]
        for row in model_card_table(runs, ReportOptions()).rows
        if row[0] == "patients in training and test"
    )
    cautions = [caution.text for caution in shared_patient_cautions(runs)]
    if patients:
        assert "patients 4, 7 are in cncb_lesion_train and in cncb_lesion_test" in answer
        assert len(cautions) == 1
        assert "too optimistic" in cautions[0]
    else:
        assert answer == "no patient is in both a training and a test set"
        assert cautions == []
