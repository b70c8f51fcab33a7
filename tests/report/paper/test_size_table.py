from dataclasses import replace

import pytest
from detectron2.modeling import build_model

from ct_lesion import load_config
from ct_lesion.config import shipped_configs
from ct_lesion.modeling.parameters import ParameterCounts, count_parameters
from ct_lesion.report.paper.paper import load_paper
from ct_lesion.report.paper.size_table import (
    ModelSize,
    explain,
    explain_paper,
    explain_trainable,
    measure_size,
    size_table,
)

SIZE = ModelSize(
    config="mine.yaml",
    task="segmentation",
    model="ResNet18_T1+FPN",
    counts=ParameterCounts(total=1_000_000, trainable=1_000_000),
    box_background=516,
    mask_background=129,
    mask_head=361_000,
    module_s=0,
    wider_fpn=65_536,
)
PAPER = load_paper().size("segmentation", "ResNet18_T1+FPN")


@pytest.fixture(scope="module")
def full_table() -> list[dict]:
    return size_table().records()


def by_config(rows: list[dict], config: str) -> dict:
    (row,) = (row for row in rows if row["config"] == config)
    return row


def test_every_shipped_config_and_every_row_of_the_paper_is_in_it(full_table):
    assert sorted(row["config"] for row in full_table if row["config"]) == shipped_configs()
    printed = sorted(s.total for s in load_paper().sizes)
    assert sorted(r["total, paper (M)"] for r in full_table if r["total, paper (M)"]) == printed
    third = [r["model"] for r in full_table if r["explanation"] == "a third party's model"]
    assert third == [s.printed for s in load_paper().sizes if s.task == "third party"]
    assert third == [row["model"] for row in full_table][-3:]


def test_released_models_differ_by_the_background_rows_only(full_table):
    compared = [row for row in full_table if row["here - release"] is not None]
    assert len(compared) == 14
    assert {row["here - release"] for row in compared} == {-516, -645, -773}
    assert all("a row for the background" in row["explanation"] for row in compared)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("segmentation/resnet18_t1.yaml", ["(645)", "+0.07M", "unexplained", "+65,536"]),
        ("classification/resnet34_t2.yaml", ["(516)", "+0.10M", "unexplained", "+98,304"]),
        ("segmentation/resnet18.yaml", ["(645)", "+0.01M", "unexplained"]),
        ("classification/resnet50.yaml", ["mask head (+2.62M)", "+0.05M", "S alone; here 45,440"]),
        ("classification/resnet18_t1.yaml", ["trainable as in the paper"]),
        ("segmentation/resnet18_t1_both.yaml", ["not in the paper's Table 1"]),
    ],
)
def test_differences_are_explained_or_said_to_be_unexplained(full_table, config, said):
    explanation = by_config(full_table, config)["explanation"]
    assert all(words in explanation for words in said), explanation


@pytest.mark.parametrize("config", ["segmentation/resnet18_t2.yaml", "quick/classification.yaml"])
def test_counts_are_those_of_a_real_model(config):
    cfg = load_config(config, ["MODEL.DEVICE", "cpu"])
    counts = count_parameters(build_model(cfg))
    assert measure_size(config, cfg).counts == counts
    assert cfg.MODEL.DEVICE == "cpu"


def test_explanations_come_from_the_numbers():
    assert explain(SIZE, PAPER, 1_000_645).startswith("the release's box regressor and mask")
    assert explain(SIZE, PAPER, 1_000_000).startswith("as the release")
    assert explain(SIZE, PAPER, 1_000_644).startswith("difference from the release unexplained")
    without_mask = replace(SIZE, mask_background=0)
    assert explain(without_mask, None, 1_000_516).startswith("the release's box regressor has")
    assert explain(SIZE, None, None) == "not in the paper's Table 1"


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (1.0, "is the release's"),
        (1.07, "+0.07M from the release's, unexplained (an FPN"),
        (1.09, "+0.09M from the release's, unexplained"),
        (1.36, "a mask head (+0.36M), which the classifier does not have"),
        (1.39, "(+0.36M), which the classifier does not have; +0.03M are unexplained"),
        (1.30, "+0.30M from the release's, unexplained"),
    ],
)
def test_the_papers_figure(printed, words):
    text = explain_paper(SIZE, printed, 1_000_000, mask_branch=361_000)
    assert words in text
    assert ("(an FPN" in text) == (printed == 1.07)


def test_the_papers_trainable_figure():
    classifier = replace(SIZE, counts=ParameterCounts(9_000_000, 2_410_000), module_s=2_364_000)
    assert explain_trainable(classifier, 2.41) == "trainable as in the paper"
    assert "S alone; here 46,000 of BatchNorm" in explain_trainable(classifier, 2.36)
    assert explain_trainable(classifier, 2.45) == "trainable figure unexplained"


def test_splits_that_are_here_are_counted(datasets):
    table = size_table(["segmentation/resnet18_t1.yaml", "classification/resnet18_t1.yaml"])
    row = by_config(table.records(), "segmentation/resnet18_t1.yaml")
    # two patients of three slices to train, two held out, which serve as val as well
    assert [row[key] for key in ("train", "val", "test", "test / train")] == [6, None, 6, 1.0]
    assert row["splits, paper"] == "650 / - / 100 (0.16)"
    assert any("cncb_lesion has no validation split of its own" in note for note in table.notes)
    row = by_config(table.records(), "classification/resnet18_t1.yaml")
    assert [row[key] for key in ("train", "val", "test", "test / train")] == [None] * 4
    (missing,) = (note for note in table.notes if note.startswith("Not on this machine"))
    assert "covidx_ct_train" in missing and "cncb_lesion" not in missing
    # models of the paper without a config here
    assert "no config here" in [r["explanation"] for r in table.records()]


def test_footnotes_of_table_1_are_there():
    notes = " ".join(size_table(["segmentation/resnet18_t2.yaml"]).notes)
    assert "Aram Ter-Sarkisov" in notes and "mask head" in notes and "0.4269" not in notes
