"""COVIDCTMaskNet as the shipped configs build it: parameters, weights, contradicting keys."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from toy_classifiers import make_cfg, make_model

from ct_lesion import get_config_file, load_config
from ct_lesion.modeling import COVIDCTMaskNet

LEAVES = sorted(
    path.stem for path in Path(get_config_file("classification/resnet18.yaml")).parent.iterdir()
)


# ---- building -----------------------------------------------------------------------------------
# Trainable: S, and scale and shift of each BatchNorm channel on the main path (3,904 channels in
# ResNet18, 7,616 in ResNet34). Total: the published count less 516 rows of a background box.
COUNTS = {
    "resnet18": (14_742_499 - 516, 592_387 + 2 * 3_904),
    "resnet18_t1": (6_283_235 - 516, 592_387 + 2 * 1_856),
    "resnet18_t2": (4_150_755 - 516, 592_387 + 2 * 832),
    "resnet34": (24_850_659 - 516, 592_387 + 2 * 7_616),
    "resnet34_t1": (11_670_755 - 516, 592_387 + 2 * 4_544),
    "resnet34_t2": (4_815_587 - 516, 592_387 + 2 * 1_472),
    "resnet50": (31_469_027 - 516, None),
}


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_shipped_config_builds(leaf: str) -> None:
    cfg = load_config(f"classification/{leaf}.yaml", ["MODEL.DEVICE", "cpu"])
    source = load_config(f"segmentation/{leaf}.yaml")
    assert f"{source.OUTPUT_DIR}/model_best.safetensors" == cfg.MODEL.WEIGHTS
    assert f"output/classification/{leaf}" == cfg.OUTPUT_DIR
    for node in ("BACKBONE", "RESNETS", "FPN", "ANCHOR_GENERATOR", "RPN", "ROI_HEADS"):
        assert cfg.MODEL[node] == source.MODEL[node]
    assert cfg.SOLVER.MAX_ITER * cfg.SOLVER.IMS_PER_BATCH == 50 * 3000
    assert (cfg.SOLVER.OPTIMIZER, cfg.SOLVER.BASE_LR, cfg.SOLVER.STEPS) == ("Adam", 1e-5, ())
    assert cfg.SOLVER.WEIGHT_DECAY == cfg.SOLVER.WEIGHT_DECAY_NORM == 1e-3
    assert cfg.SOLVER.WARMUP_ITERS == 0
    assert (cfg.MODEL.ROI_BATCH.SIZE == 256) == leaf.startswith("resnet50")
    model = build_model(cfg)
    assert isinstance(model, COVIDCTMaskNet)
    assert not any("mask" in name for name, _ in model.named_modules())
    if leaf in COUNTS:
        total, trainable = COUNTS[leaf]
        assert sum(p.numel() for p in model.parameters()) == total
        learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
        assert trainable is None or learning == trainable
        assert trainable is None or round(learning / 1e6, 1) == 0.6


def test_only_s_learns_without_batchnorm() -> None:
    overrides = ["MODEL.DEVICE", "cpu", "MODEL.CLASSIFIER.TRAIN_BATCHNORM", "none"]
    model = build_model(load_config("classification/resnet18_t2.yaml", overrides))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 592_387


def test_a_segmentation_model_loads_into_it() -> None:
    torch.manual_seed(1)
    cfg = load_config("segmentation/resnet18_t2.yaml", ["MODEL.DEVICE", "cpu"])
    segmentation = build_model(cfg).state_dict()
    model = make_model()
    result = model.load_state_dict(segmentation, strict=False)
    assert {name.split(".")[0] for name in result.missing_keys} == {"classifier"}
    assert {name.split(".")[1] for name in result.unexpected_keys} == {"mask_head"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["MODEL.CLASSIFIER.TRAIN_BATCHNORM", "all"],
            "MODEL.CLASSIFIER.TRAIN_BATCHNORM is 'all', expected one of affine, none",
        ),
        (["MODEL.MASK_ON", True], "MODEL.MASK_ON is True"),
        (["MODEL.RESNETS.NORM", "FrozenBN"], "MODEL.RESNETS.NORM to BN"),
    ],
)
def test_contradicting_keys_are_named(overrides: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(make_cfg(*overrides))
