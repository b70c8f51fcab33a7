"""The classification evaluator, in one process and in two."""

import csv
import json
import logging
import math

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from ct_lesion.errors import DatasetError
from ct_lesion.evaluation import ClassificationEvaluator

CLASSES = ["Control", "Common Pneumonia", "COVID-19"]
# true and predicted class; test_classification_metrics.py has the hand-computed metrics
SLICES = [(0, 0), (0, 0), (0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 2)]


def batch(indices) -> tuple[list[dict], list[dict]]:
    """A model's inputs and outputs for some of the slices; two slices per patient."""
    inputs = [
        {
            "file_name": f"images/{i}.png",
            "image_id": f"slice_{i}",
            "patient": f"p{i // 2}",
            "scan": "1",
            "label": SLICES[i][0],
        }
        for i in indices
    ]
    outputs = []
    for i in indices:
        logits = torch.full((3,), -1.5)
        logits[SLICES[i][1]] = 0.1 + i / 3
        outputs.append({"logits": logits, "pred_class": SLICES[i][1]})
    return inputs, outputs


def evaluate(output_dir=None, indices=range(8)) -> dict:
    evaluator = ClassificationEvaluator("covidx_ct_val", output_dir=output_dir)
    evaluator.reset()
    evaluator.process(*batch(indices))
    return evaluator.evaluate()


def test_results_in_percent(tmp_path):
    results = evaluate()["classification"]
    assert results["accuracy"] == 75
    assert results["sensitivity/Control"] == 75
    assert results["sensitivity/Common Pneumonia"] == 50
    assert results["sensitivity/COVID-19"] == 100
    assert results["specificity/COVID-19"] == pytest.approx(100 * 5 / 6)
    assert results["PPV/COVID-19"] == pytest.approx(100 * 2 / 3)
    assert results["F1/Control"] == pytest.approx(100 * 6 / 7)
    assert set(results) == {"accuracy"} | {
        f"{metric}/{name}"
        for metric in ("sensitivity", "specificity", "PPV", "F1", "AUC")
        for name in CLASSES
    }
    assert all(isinstance(value, float) for value in results.values())
    assert list(tmp_path.iterdir()) == []


def test_predictions_have_a_line_per_slice(tmp_path):
    evaluate(tmp_path / "inference")
    assert {p.name for p in (tmp_path / "inference").iterdir()} == {
        "predictions.csv",
        "classification_metrics.json",
    }
    with (tmp_path / "inference/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    row = rows[5]
    logits = [float(row.pop(f"logit_{i} {name}")) for i, name in enumerate(CLASSES)]
    assert torch.equal(torch.tensor(logits), batch([5])[1][0]["logits"])  # to the last bit
    assert row == {
        "file": "images/5.png",
        "image_id": "slice_5",
        "patient": "p2",
        "scan": "1",
        "true_class": "Common Pneumonia",
        "predicted_class": "COVID-19",
    }


def test_metrics_are_written_with_their_unit(tmp_path):
    results = evaluate(tmp_path)["classification"]
    written = json.loads((tmp_path / "classification_metrics.json").read_text())
    assert written["metrics"] == results
    assert written["unit"] == "percent"
    assert (written["dataset"], written["slices"], written["patients"]) == ("covidx_ct_val", 8, 4)
    assert written["classes"] == CLASSES
    assert written["confusion_matrix"]["counts"] == [[3, 1, 0], [0, 1, 1], [0, 0, 2]]


def test_absent_class_is_null_in_the_file_and_explained(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        results = evaluate(tmp_path, indices=range(6))["classification"]
    assert math.isnan(results["sensitivity/COVID-19"])
    text = (tmp_path / "classification_metrics.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["metrics"]["sensitivity/COVID-19"] is None
    assert json.loads(text)["undefined"]["sensitivity/COVID-19"] == "no image is COVID-19"
    assert "sensitivity/COVID-19 is undefined: no image is COVID-19." in caplog.text


def test_log_has_the_papers_table(caplog):
    with caplog.at_level(logging.INFO):
        evaluate()
    lines = [line.split() for line in caplog.text.splitlines()]
    at = lines.index(["COVID-19", "Pneumonia", "Normal", "Overall"])
    assert lines[at + 2] == ["100.00", "50.00", "75.00", "75.00"]
    assert ["Control", "3", "1", "0"] in lines  # of the confusion matrix
    assert "8 slices of 4 patients" in caplog.text


def test_other_classes_keep_their_names(caplog):
    MetadataCatalog.get("two_classes").image_classes = ["healthy", "ill"]
    try:
        evaluator = ClassificationEvaluator("two_classes")
        record = {"file_name": "a.png", "label": 1}
        evaluator.process([record], [{"logits": torch.tensor([0.0, 1.0])}])
        with caplog.at_level(logging.INFO):
            assert evaluator.evaluate()["classification"]["sensitivity/ill"] == 100
    finally:
        MetadataCatalog.remove("two_classes")
    assert ["ill", "healthy", "Overall"] in [line.split() for line in caplog.text.splitlines()]


def test_repeated_slices_count_once_and_reset_clears_predictions(tmp_path):
    evaluator = ClassificationEvaluator("covidx_ct_val", output_dir=tmp_path)
    evaluator.process(*batch([3, 3, 3]))
    evaluator.reset()
    evaluator.process(*batch([6, 5, 4, 3, 2]))
    evaluator.process(*batch([7, 1, 2, 0, 3, 3]))
    assert evaluator.evaluate() == evaluate()
    rows = (tmp_path / "predictions.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == [f"slice_{i}" for i in range(8)]


def test_no_predictions_are_a_warning(tmp_path, caplog):
    evaluator = ClassificationEvaluator("covidx_ct_val", output_dir=tmp_path)
    evaluator.reset()
    assert evaluator.evaluate() == {}
    assert "covidx_ct_val: there are no predictions" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_half_precision_logits_are_read(tmp_path):
    evaluator = ClassificationEvaluator("covidx_ct_val")
    inputs, outputs = batch([6])
    evaluator.process(inputs, [{"logits": outputs[0]["logits"].half().requires_grad_()}])
    assert evaluator.evaluate()["classification"]["accuracy"] == 100


@pytest.mark.parametrize(
    ("change", "logits", "error", "message"),
    [
        ({"label": -1}, [0.0, 1, 2], DatasetError, r"3\.png: the label is -1, expected 0 to 2"),
        ({"label": 3}, [0.0, 1, 2], DatasetError, r"3\.png: the label is 3, expected 0 to 2"),
        ({}, [0.0, 1], ValueError, r"3\.png: .*shape \(2,\), but covidx_ct_val has 3 classes"),
        ({}, [[0.0, 1, 2]], ValueError, r"shape \(1, 3\)"),
        ({}, [0.0, 1, math.nan], FloatingPointError, r"3\.png: .*not finite"),
        ({}, [0.0, 1, math.inf], FloatingPointError, "not finite"),
    ],
)
def test_invalid_labels_and_logits_are_refused(change, logits, error, message):
    record = {**batch([3])[0][0], **change}
    output = {"logits": torch.tensor(logits)}
    with pytest.raises(error, match=message):
        ClassificationEvaluator("covidx_ct_val").process([record], [output])


def test_record_without_label_is_named():
    record = {"file_name": "3.png"}
    with pytest.raises(DatasetError, match=r"3\.png: the label is None"):
        ClassificationEvaluator("covidx_ct_val").process([record], [{"logits": torch.zeros(3)}])


def test_dataset_without_class_names_is_refused():
    with pytest.raises(DatasetError, match="cncb_lesion_val has no image_classes"):
        ClassificationEvaluator("cncb_lesion_val")


def test_two_processes_give_the_numbers_of_one(tmp_path, monkeypatch):
    """Both ranks run in turn with a simulated gather; tests/engine starts two processes."""
    # unequal shares, out of order, and slice 3 in both
    ranks = [ClassificationEvaluator("covidx_ct_val", output_dir=tmp_path / "two") for _ in "01"]
    ranks[0].process(*batch([7, 3, 0]))
    ranks[1].process(*batch([6, 5, 4, 3, 2, 1]))
    sent = []
    with monkeypatch.context() as patch:
        patch.setattr(comm, "is_main_process", lambda: False)
        patch.setattr(comm, "gather", lambda data, dst: sent.append(data) or [])
        assert ranks[1].evaluate() == {}
    monkeypatch.setattr(comm, "gather", lambda data, dst: [data, sent.pop(0)])
    two = ranks[0].evaluate()
    monkeypatch.undo()
    assert two == evaluate(tmp_path / "one")
    for name in ("predictions.csv", "classification_metrics.json"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
