import math

import numpy as np
import pytest

from ct_lesion import load_config
from ct_lesion.evaluation.classification_metrics import classification_metrics
from ct_lesion.report.paper.paper import load_paper
from ct_lesion.report.paper.result_tables import (
    RunMetrics,
    class_metrics_table,
    classification_table,
    segmentation_table,
)

CLASSES = ("Control", "Common Pneumonia", "COVID-19")


def segmentation_run(config: str = "segmentation/resnet34_t1.yaml", **changes) -> RunMetrics:
    metrics = {
        "bbox": {"AP": 30.0, "AP50": 40.0, "AP75": 35.0},
        "segm": {"AP": 42.0, "AP50": 62.5, "AP75": 44.0},
        "paper_table_2": {
            "score_threshold": 0.75,
            "coco": {"AP": 0.31, "AP50": 0.51, "AP75": 0.33},
            "release": {"AP": 0.41, "AP50": 0.61, "AP75": 0.43},
        },
        "lesions": {"lesions": 40, "found": 12, "false": 5},
    }
    return RunMetrics("a", load_config(config), metrics | changes, 12.5, "cncb_lesion_test")


def classification_run(
    labels: list[int], predicted: list[int], class_names: tuple[str, ...] = CLASSES
) -> RunMetrics:
    """A run as ClassificationEvaluator writes it."""
    logits = np.eye(len(class_names))[predicted]
    metrics = classification_metrics(np.array(labels), logits, class_names)
    percent = {key: 100 * value for key, value in metrics.as_dict().items()}
    content = {
        "classes": list(class_names),
        "metrics": {key: None if math.isnan(v) else v for key, v in percent.items()},
        "undefined": metrics.undefined,
    }
    return RunMetrics("b", load_config("classification/resnet18_t1.yaml"), content)


def test_table_2_has_paper_and_run_side_by_side():
    row, *others = segmentation_table([segmentation_run()]).records()
    paper = next(r for r in load_paper().segmentation if r.model == "ResNet34_T1+FPN")
    assert [row["model"], row["run"], row["data"]] == ["ResNet34_T1+FPN", "a", "cncb_lesion_test"]
    assert row["AP@0.5, paper"] == paper.values["AP50"]
    assert row["AP@0.5, run by COCO"] == 0.51
    assert row["AP@0.75, run as released"] == 0.43
    assert row["AP@[0.5:0.95], paper"] == paper.values["AP"]
    assert row["AP@[0.5:0.95], run by COCO, all detections"] == 0.42
    assert row["lesions found"] == "12 of 40" and row["false detections"] == 5
    assert [row["minutes, paper"], row["minutes, run"]] == [paper.minutes, 12.5]
    # the paper's other models, below
    assert len(others) == 7 and not [r for r in others if r["run"]]
    assert {r["minutes, paper"] for r in others} == {
        r.minutes for r in load_paper().segmentation if r is not paper
    }


def test_undefined_ap_is_a_dash_not_zero():
    nothing = dict.fromkeys(("AP", "AP50", "AP75"))
    table = {"score_threshold": 0.6, "coco": nothing, "release": nothing}
    run = segmentation_run(paper_table_2=table, segm=nothing)
    made = segmentation_table([run])
    shown = dict(zip(made.columns, made.shown()[0], strict=True))
    assert shown["AP@0.5, run by COCO"] == "-"
    assert shown["AP@[0.5:0.95], run by COCO, all detections"] == "-"
    assert "above 0.6" in made.notes[0]


def test_another_network_on_the_same_backbone_is_named_as_such():
    row = segmentation_table([segmentation_run("quick/segmentation.yaml")]).records()[0]
    assert row["model"] == "ResNet18_T2+FPN, 128 FPN maps, 12 anchors per location"
    assert row["AP@0.5, paper"] is not None


def test_a_model_that_is_not_in_the_paper_has_no_values_of_the_paper():
    run = segmentation_run("segmentation/resnet18_t1_ggo.yaml")
    row, *others = segmentation_table([run]).records()
    assert row["AP@0.5, paper"] is None and row["minutes, paper"] is None
    assert len(others) == len(load_paper().segmentation)


def test_table_3_uses_the_class_names_of_the_paper():
    # Control 3 of 4, pneumonia 1 of 2, COVID-19 2 of 2
    run = classification_run([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 0, 2, 2])
    table = classification_table([run])
    row, *others = table.records()
    paper = next(r for r in load_paper().classification if r.model == "ResNet18_T1+FPN")
    assert [row[f"{key}, run"] for key in paper.values] == [100, 50, 75, 75]
    assert [row[f"{key}, paper"] for key in paper.values] == list(paper.values.values())
    assert row["minutes, run"] is None and len(others) == 7
    assert any("true negative rate" in note for note in table.notes)


def test_the_class_table_uses_our_class_names():
    run = classification_run([0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 0, 2, 2])
    rows = {row["class"]: row for row in class_metrics_table([run]).records()}
    assert list(rows) == list(CLASSES)
    assert rows["Control"]["sensitivity"] == 75
    assert rows["Control"]["specificity"] == 75  # one of four others is called Control
    assert rows["Common Pneumonia"]["PPV"] == 50
    assert rows["Common Pneumonia"]["specificity"] == pytest.approx(500 / 6)


def test_a_class_without_slices_has_no_value_and_a_reason():
    run = classification_run([0, 0, 2], [0, 0, 2])
    row = classification_table([run]).records()[0]
    assert row["Pneumonia, run"] is None and row["Overall, run"] == 100
    table = class_metrics_table([run])
    assert table.records()[1]["sensitivity"] is None
    assert any("no image is Common Pneumonia" in note for note in table.notes)


def test_classes_that_are_not_in_the_paper_are_named():
    run = classification_run([0, 1], [0, 1], ("Control", "COVID-19"))
    table = classification_table([run])
    assert table.records()[0]["COVID-19, run"] == 100
    assert table.records()[0]["Pneumonia, run"] is None
    run = classification_run([0, 1], [0, 1], ("Control", "Cancer"))
    assert "b has classes that are not in the paper: Cancer." in classification_table([run]).notes


def test_without_runs_the_papers_rows_remain():
    assert len(segmentation_table([]).rows) == len(classification_table([]).rows) == 8
