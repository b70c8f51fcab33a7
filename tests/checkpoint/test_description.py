"""A checkpoint's description is read back as it was written."""

import json
import logging

import numpy as np
import pytest
import torch
import yaml
from detectron2.config import CfgNode
from detectron2.modeling import build_model

import ct_lesion
from ct_lesion.checkpoint import (
    CheckpointError,
    config_from_description,
    describe,
    description_value,
)


def same_config(a: CfgNode, b: CfgNode) -> bool:
    return yaml.safe_load(a.dump()) == yaml.safe_load(b.dump())  # yaml has no tuples


def test_round_trip() -> None:
    cfg = ct_lesion.load_config(
        "classification/resnet34_t1.yaml", ["MODEL.ROI_BATCH.SIZE", "96", "MODEL.DEVICE", "cpu"]
    )
    description = describe(
        cfg,
        class_names={"regions": ["Lesion"], "images": ["Control", "COVID-19"]},
        dataset_hashes={"train": "ab12"},
        metrics={"accuracy": np.float32(0.5), "matrix": torch.eye(2), "AP": {"50": 0.2}},
    )
    assert all(isinstance(x, str) for item in description.items() for x in item)
    assert same_config(config_from_description(description), cfg)
    assert description_value(description, "class_names")["images"][1] == "COVID-19"
    assert description_value(description, "dataset_hashes") == {"train": "ab12"}
    metrics = description_value(description, "metrics")
    assert metrics == {"accuracy": 0.5, "matrix": [[1, 0], [0, 1]], "AP": {"50": 0.2}}
    assert description_value(description, "versions")["ct_lesion"] == ct_lesion.__version__
    assert description_value(description, "comment") is None
    build_model(config_from_description(description))


def test_unknown_keys_are_dropped_and_named(caplog: pytest.LogCaptureFixture) -> None:
    cfg = ct_lesion.load_config("segmentation/resnet18.yaml")
    description = describe(cfg)
    description["config"] += "\nNEWER: {A: 1}\n"
    description["config"] = description["config"].replace("MODEL:\n", "MODEL:\n  NEW_KEY: 3\n")
    with caplog.at_level(logging.WARNING):
        assert same_config(config_from_description(description), cfg)
    assert "NEWER" in caplog.text
    assert "MODEL.NEW_KEY" in caplog.text


@pytest.mark.parametrize(
    "config",
    [
        "",
        "just text",
        "- 1",
        "a: [",
        "MODEL: {RESNETS: {DEPTH: [1]}}",
        "MODEL: 3",
        "!!python/name:os.system",
    ],
)
def test_damaged_config_is_an_error(config: str) -> None:
    with pytest.raises(CheckpointError, match="give the config") as raised:
        config_from_description({"config": config})
    assert "\n" not in str(raised.value)


def test_config_of_exponential_size_is_an_error() -> None:
    lines = ["a0: &a0 [1, 2]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 64)]
    config = "\n".join([*lines, "MODEL: {WEIGHTS: *a63}"])
    with pytest.raises(CheckpointError, match="too large"):
        config_from_description({"config": config})


def test_damaged_json_is_an_error() -> None:
    with pytest.raises(CheckpointError, match="metrics"):
        description_value({"metrics": "{"}, "metrics")
    assert (
        json.loads(describe(ct_lesion.load_config("segmentation/resnet18.yaml"))["metrics"]) == {}
    )
