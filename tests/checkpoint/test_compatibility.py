"""A config that does not fit a checkpoint is refused; the message has both values."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from released_files import random_resnet

import ct_lesion
from ct_lesion.checkpoint import (
    Checkpoint,
    CheckpointError,
    LesionCheckpointer,
    check_compatible,
    describe,
    read_checkpoint,
    require_detector,
)

CPU = ["MODEL.DEVICE", "cpu"]


def config(name: str, *overrides: str) -> CfgNode:
    return ct_lesion.load_config(name, [*CPU, *overrides])


def weights(name: str, *overrides: str) -> dict[str, torch.Tensor]:
    return build_model(config(name, *overrides)).state_dict()


@pytest.fixture(scope="module")
def segmentation() -> dict[str, torch.Tensor]:
    return weights("segmentation/resnet18_t2.yaml")


@pytest.fixture(scope="module")
def classification() -> dict[str, torch.Tensor]:
    return weights("classification/resnet18_t2.yaml")


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("resnet34_t2", [], "MODEL.RESNETS.DEPTH is 34 here and 18 in"),
        ("resnet18_t1", [], r"MODEL.RESNETS.OUT_FEATURES is \['res4'\] here and \['res3'\] in"),
        ("resnet50", [], "MODEL.RESNETS.DEPTH is 50 here and 18 in"),
        ("resnet18_t1_both", [], "MODEL.ROI_HEADS.NUM_CLASSES is 2 here and 1 in"),
        ("resnet18_t2", ["MODEL.ROI_BOX_HEAD.FC_DIM", "64"], "FC_DIM is 64 here and 128 in"),
    ],
)
def test_classifier_on_another_detector(
    segmentation: dict, name: str, overrides: list[str], message: str
) -> None:
    cfg = config(f"classification/{name}.yaml", *overrides)
    with pytest.raises(CheckpointError, match=message) as raised:
        check_compatible(cfg, Checkpoint(Path("seg.pth"), segmentation))
    assert str(raised.value).startswith("seg.pth does not fit this model")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "theirs"),
    [
        ("MODEL.ROI_BATCH.SIZE", "64", "128"),
        ("MODEL.CLASSIFIER.WIDTH", "1024", "512"),
        ("MODEL.CLASSIFIER.NUM_CLASSES", "2", "3"),
    ],
)
def test_module_s_of_another_size_is_refused(
    classification: dict, key: str, value: str, theirs: str
) -> None:
    cfg = config("classification/resnet18_t2.yaml", key, value)
    with pytest.raises(CheckpointError, match=f"{key} is {value} here and {theirs} in"):
        check_compatible(cfg, Checkpoint(Path("cls.pth"), classification))


def test_fitting_checkpoints_pass(segmentation: dict, classification: dict) -> None:
    cfg = config("classification/resnet18_t2.yaml", "MODEL.ROI_BATCH.SIZE", "64")
    check_compatible(cfg, Checkpoint(Path("seg.pth"), segmentation))
    cfg = config("segmentation/resnet18_t2.yaml")
    check_compatible(cfg, Checkpoint(Path("cls.pth"), classification), strict=True)


def test_a_segmentation_model_may_start_from_parts_of_another(segmentation: dict) -> None:
    checkpoint = Checkpoint(Path("seg.pth"), segmentation)
    two_classes = config("segmentation/resnet18_t1_both.yaml")
    check_compatible(two_classes, checkpoint)
    with pytest.raises(CheckpointError, match="NUM_CLASSES is 2 here and 1"):
        check_compatible(two_classes, checkpoint, strict=True)
    with pytest.raises(CheckpointError, match="DEPTH is 34 here and 18"):
        check_compatible(config("segmentation/resnet34_t2.yaml"), checkpoint)


def test_the_description_reveals_differences_that_shapes_do_not(segmentation: dict) -> None:
    theirs = config("segmentation/resnet18_t2.yaml", "MODEL.ANCHOR_GENERATOR.OFFSET", "0.5")
    described = Checkpoint(Path("seg.safetensors"), segmentation, describe(theirs))
    cfg = config("classification/resnet18_t2.yaml")
    with pytest.raises(CheckpointError, match=r"OFFSET is 0\.0 here and 0\.5 in"):
        check_compatible(cfg, described)
    check_compatible(cfg, Checkpoint(Path("seg.pth"), segmentation))


def test_imagenet_weights_are_compared_by_depth_alone() -> None:
    checkpoint = Checkpoint(Path("resnet.pth"), random_resnet(34).state_dict())
    check_compatible(config("segmentation/resnet34_t2.yaml"), checkpoint, strict=True)
    with pytest.raises(CheckpointError, match="DEPTH is 18 here and 34"):
        check_compatible(config("segmentation/resnet18_t2.yaml"), checkpoint)


def test_checkpointer_compares_before_it_loads(tmp_path: Path, segmentation: dict) -> None:
    torch.save({"model": segmentation, "iteration": 3}, tmp_path / "plain_detectron2.pth")
    assert read_checkpoint(tmp_path / "plain_detectron2.pth").rest == {"iteration": 3}
    cfg = config("classification/resnet18_t1_both.yaml")
    model = build_model(cfg)
    before = model.state_dict()["roi_heads.box_head.fc1.weight"].clone()
    with pytest.raises(CheckpointError, match=r"OUT_FEATURES.*NUM_CLASSES"):
        LesionCheckpointer(model, cfg=cfg).load(str(tmp_path / "plain_detectron2.pth"))
    assert torch.equal(model.state_dict()["roi_heads.box_head.fc1.weight"], before)
    cfg = config("segmentation/resnet18_t2.yaml", "MODEL.ROI_HEADS.NUM_CLASSES", "2")
    checkpointer = LesionCheckpointer(build_model(cfg), cfg=cfg, strict=True)
    with pytest.raises(CheckpointError, match="NUM_CLASSES is 2 here and 1"):
        checkpointer.load(str(tmp_path / "plain_detectron2.pth"))


def test_classifier_needs_a_detector(tmp_path: Path, segmentation: dict) -> None:
    cfg = config("classification/resnet18_t2.yaml")
    with pytest.raises(CheckpointError, match=r"cannot be trained from scratch.*WEIGHTS is empty"):
        require_detector(cfg, None)
    checkpointer = LesionCheckpointer(build_model(cfg), cfg=cfg)

    def load(state_dict: dict) -> None:
        torch.save(state_dict, tmp_path / "weights.pth")
        checkpointer.load(str(tmp_path / "weights.pth"))

    load(segmentation)
    require_detector(cfg, checkpointer.last_report)
    load(random_resnet(18).state_dict())
    with pytest.raises(CheckpointError, match="cannot be trained from scratch") as raised:
        require_detector(cfg, checkpointer.last_report)
    assert "proposal_generator (6 tensors)" in str(raised.value)
    load({n: t for n, t in segmentation.items() if "backbone" not in n})
    with pytest.raises(CheckpointError, match="lacks backbone"):
        require_detector(cfg, checkpointer.last_report)
    require_detector(config("segmentation/resnet18.yaml"), None)
