"""The models that ship with the package: their files, descriptions and cards."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from ct_lesion import load_config
from ct_lesion.checkpoint import (
    DEFAULT_MODEL,
    AboutModel,
    CheckpointError,
    LesionCheckpointer,
    config_from_description,
    description_value,
    locate_shipped,
    read_checkpoint,
    read_description,
    shipped_models,
)
from ct_lesion.report.paper.paper import DATA
from ct_lesion.scans.windows import Window
from ct_lesion.yaml_files import parse_yaml

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = shipped_models()
LARGEST = 14e6  # bytes
ZOO = (REPOSITORY / "docs/model_zoo.md").read_text("utf-8")


def test_the_default_model_ships_and_other_paths_are_unchanged():
    assert DEFAULT_MODEL == "ct_lesion://public_ct_resnet18_t1"
    assert Path(locate_shipped(DEFAULT_MODEL)).is_file()
    assert locate_shipped("ct_lesion/file.pth") == "ct_lesion/file.pth"


@pytest.mark.parametrize("name", ["", "resnet", "../weights/public_ct_resnet18_t1"])
def test_the_message_about_an_unknown_name_lists_the_shipped_models(name):
    with pytest.raises(CheckpointError, match="ct_lesion://public_ct_resnet18_t1"):
        locate_shipped(f"ct_lesion://{name}")


@pytest.mark.parametrize("name", MODELS)
def test_training_can_start_from_a_shipped_model_in_half_precision(name):
    assert MODELS[name].stat().st_size < LARGEST
    weights = read_checkpoint(MODELS[name]).model
    kinds = {t.dtype for t in weights.values()}
    assert kinds == {torch.float16, torch.int64}, "int64 counts BatchNorm's batches"
    cfg = load_config(f"segmentation/{name}.yaml", ["MODEL.DEVICE", "cpu"])
    checkpointer = LesionCheckpointer(build_model(cfg), cfg=cfg, strict=True)
    checkpointer.load(f"ct_lesion://{name}")
    assert checkpointer.last_report.fresh == []
    assert set(checkpointer.last_report.loaded) == set(weights)
    loaded = checkpointer.model.state_dict()
    assert all(torch.equal(loaded[key], weights[key].to(loaded[key].dtype)) for key in weights)


@pytest.mark.parametrize("name", MODELS)
def test_the_description_is_complete_and_the_shipped_config_rebuilds_the_model(name):
    description = read_description(MODELS[name])
    about = AboutModel.of(description)
    assert about.name == name
    assert about.licence.startswith("CC BY-NC-SA 4.0")
    assert description_value(description, "class_names") == ["Lesion"]
    assert list(description_value(description, "dataset_hashes")) == ["cncb_lesion_train"]
    assert {"ct_lesion", "torch", "detectron2"} <= set(description_value(description, "versions"))
    cfg, shipped = config_from_description(description), load_config(f"segmentation/{name}.yaml")
    assert Window.from_config(cfg) == Window(1023.5, 4095.0, clahe=7.0, side=256)
    assert not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    shipped.DATASETS.TEST = ()  # the shipped weights are trained on all patients
    assert parse_yaml(cfg.dump()) == parse_yaml(shipped.dump())


@pytest.mark.parametrize("name", MODELS)
def test_card_and_zoo_give_the_metrics_of_the_description(name):
    card = MODELS[name].with_suffix(".md").read_text("utf-8")
    metrics = description_value(read_description(MODELS[name]), "metrics")
    for key in ("AP", "AP50"):
        assert f"| {metrics[key]} |" in card
        assert f"| {key} | {metrics[key]} (" in ZOO
    for key in ("Dice", "false lesions a normal slice"):
        assert f"| {metrics[key]:.3f} |" in card
        assert f"{metrics[key]:.3f} (" in ZOO
    assert "10.5281/zenodo.3757476" in card and "CC BY-NC-SA 4.0" in card


def test_the_zoo_has_the_papers_rows():
    for row in json.loads(DATA.read_text("utf-8"))["segmentation"]["rows"]:
        values = " | ".join(f"{100 * float(row[key]):.2f}" for key in ("AP", "AP50", "AP75"))
        assert f"| {row['model']} | {values} |" in ZOO


@pytest.mark.parametrize(
    "entry",
    [
        "{}",
        "[]",
        '{"name": "a", "trained_on": "b"}',
        '{"name": "a", "trained_on": "b", "licence": 1}',
        '{"name": "a\\u001b[2J", "trained_on": "b", "licence": "c"}',
    ],
)
def test_an_origin_that_is_not_three_printable_texts_counts_as_missing(entry):
    assert AboutModel.of({"model": entry}) is None
    assert AboutModel.of({}) is None


def test_long_texts_about_a_model_are_cut():
    entry = json.dumps({"name": "a", "trained_on": "b" * 301, "licence": "c"})
    assert AboutModel.of({"model": entry}) == AboutModel("a", "b" * 300, "c")
