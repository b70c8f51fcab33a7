import re
import shutil

import pytest
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ct_lesion import load_config
from ct_lesion.modeling.parameters import count_parameters
from ct_lesion.report.paper.model_names import model_name
from ct_lesion.report.paper.paper import load_paper
from ct_lesion.report.paper.result_tables import RunMetrics
from ct_lesion.report.paper.size_table import measure_size, size_table

PAPER_SIZES = [size for size in load_paper().sizes if size.released]


def shipped_config(task: str, model: str) -> CfgNode:
    cfg = load_config(f"{task}/{model.partition('+FPN')[0].lower()}.yaml")
    assert model_name(cfg) == model
    return cfg


def table_of(*configs: str, overrides: tuple = ()):
    small = ["INPUT.MIN_SIZE_TEST", 64, "MODEL.RPN.POST_NMS_TOPK_TEST", 20, *overrides]
    runs = [RunMetrics(name, load_config(name, small), {}) for name in configs]
    return size_table(runs)


@pytest.mark.parametrize("size", PAPER_SIZES, ids=lambda size: f"{size.task} {size.model}")
def test_explanations_of_table_1_hold_for_the_shipped_models(size):
    counts = measure_size(shipped_config(size.task, size.model))
    assert size.released - counts.total == size.background
    millions = re.match(r"([\d.]+)M above the release", size.explanation).group(1)
    assert float(millions) == pytest.approx(size.total - size.released / 1e6, abs=0.006)
    if size.trainable == 2.36:
        assert "45,440 parameters of BatchNorm" in size.explanation
        assert round((counts.trainable - 45_440) / 1e6, 2) == size.trainable
    elif size.trainable is not None:
        assert round(counts.trainable / 1e6, 1) == size.trainable


@pytest.mark.parametrize(("stages", "parameters"), [("T1", 65_536), ("T2", 98_304)])
def test_a_wider_fpn_would_explain_the_truncated_models(stages, parameters):
    # a 1 x 1 convolution to 256 maps from 512 instead of 256 or 128 maps
    assert parameters == (512 - {"T1": 256, "T2": 128}[stages]) * 256
    sizes = [s for s in PAPER_SIZES if stages in s.model and "0.01M" not in s.explanation]
    assert sizes
    assert all(f"would add {parameters:,}." in size.explanation for size in sizes)


def test_the_papers_classifier_size_includes_a_mask_head():
    model = build_model(load_config("segmentation/resnet50.yaml", ["MODEL.DEVICE", "meta"]))
    head = count_parameters(model.roi_heads.mask_head).total
    assert (
        "2.62M is a mask head"
        in load_paper().size("classification", PAPER_SIZES[0].model).explanation
    )
    assert round(head / 1e6, 2) == 2.62


@pytest.mark.parametrize("config", ["segmentation/resnet18_t2.yaml", "quick/classification.yaml"])
def test_counts_equal_those_of_an_allocated_model(config):
    cfg = load_config(config, ["MODEL.DEVICE", "cpu"])
    assert measure_size(cfg) == count_parameters(build_model(cfg))
    assert cfg.MODEL.DEVICE == "cpu"


def test_runs_come_first_and_every_row_of_the_paper_is_shown():
    table = table_of("segmentation/resnet18_t1.yaml", "quick/classification.yaml")
    rows = table.records()
    assert [row["run"] for row in rows[:3]] == [
        "segmentation/resnet18_t1.yaml",
        "quick/classification.yaml",
        None,
    ]
    assert rows[0]["model"] == "Mask R-CNN, ResNet18_T1+FPN"
    assert rows[1]["model"].startswith("COVID-CT-Mask-Net, ResNet18_T2+FPN, 128 FPN maps")
    assert rows[0]["total, run (M)"] == 6.051165
    assert (rows[0]["total, paper (M)"], rows[0]["run - release"]) == (6.12, -645)
    assert rows[1]["paper's figures"] == "not in the paper's Table 1"
    printed = sorted(size.total for size in load_paper().sizes)
    assert sorted(r["total, paper (M)"] for r in rows if r["total, paper (M)"]) == printed
    assert [row["paper's figures"] for row in rows[-3:]] == ["third-party model"] * 3


def test_flops_equal_the_analysis_and_are_counted_once_per_network(monkeypatch):
    counted = []
    monkeypatch.setattr(
        "ct_lesion.report.paper.size_table.count_flops",
        lambda cfg: counted.append(cfg.MODEL.META_ARCHITECTURE) or 2_500_000_000,
    )
    leaf = "segmentation/resnet18_t1.yaml"
    table = table_of(leaf, leaf, "quick/classification.yaml")
    assert counted == ["GeneralizedRCNN", "COVIDCTMaskNet"]
    rows = table.records()
    assert [row["FLOPs, run (G)"] for row in rows[:4]] == [2.5, 2.5, 2.5, None]
    assert [row["input (px)"] for row in rows[:4]] == [64, 64, 64, None]


def test_a_network_that_cannot_be_counted_has_a_note():
    table = table_of("segmentation/resnet18_t1.yaml", overrides=("INPUT.MIN_SIZE_TEST", 0))
    row, notes = table.records()[0], " ".join(table.notes)
    assert row["FLOPs, run (G)"] is row["input (px)"] is None
    assert row["total, run (M)"] == 6.051165
    assert "FLOPs not counted: The side of the input" in notes


def test_a_network_with_another_parameter_count_is_reported_as_different():
    overrides = ("MODEL.RPN.CONV_DIMS", [64])
    (row, *_) = table_of("segmentation/resnet18_t1.yaml", overrides=overrides).records()
    assert row["run - release"] < -645
    assert row["paper's figures"].endswith("The run's network differs from the release's.")


def test_datasets_on_this_machine_are_counted(datasets, tmp_path, monkeypatch):
    # as earlier versions prepared datasets: without a validation split, val is a copy of test
    annotations = tmp_path / "cncb/annotations"
    shutil.copytree(datasets / "cncb/annotations", annotations)
    (tmp_path / "cncb/images").symlink_to(datasets / "cncb/images")
    shutil.copy(annotations / "cncb_lesion_test.json", annotations / "cncb_lesion_val.json")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    table = table_of("segmentation/resnet18_t1.yaml", "classification/resnet18_t1.yaml")
    segmentation, classification, *_ = table.records()
    keys = ("train", "val", "test", "test / train")
    # two patients of three slices to train, two held out
    assert [segmentation[key] for key in keys] == [6, None, 6, 1.0]
    assert segmentation["splits, paper"] == "650/-/100 (0.16)"
    assert any("cncb_lesion has no validation split" in note for note in table.notes)
    assert [classification[key] for key in keys] == [None] * 4
    (missing,) = (note for note in table.notes if note.startswith("Not counted"))
    assert "covidx_ct_train" in missing
    assert "cncb_lesion" not in missing


def test_notes_on_table_1_stand_below_it():
    notes = " ".join(size_table([]).notes)
    assert "Aram Ter-Sarkisov" in notes
    assert "mask head" in notes
    assert "0.4269" not in notes
