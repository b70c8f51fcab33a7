"""Published checkpoints of every backbone, converted and compared with a direct computation."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import cat
from detectron2.modeling import build_model
from released_files import random_resnet, released_weights, write_released
from torch.nn import functional as F

import ct_lesion
from ct_lesion.checkpoint import (
    CheckpointError,
    LesionCheckpointer,
    convert_released,
    describe,
    read_released,
    write_weights,
)
from ct_lesion.checkpoint.released import rename_released

STAGES = ["res5", "res4", "res3"]
MODELS = [(18, s) for s in STAGES] + [(34, s) for s in STAGES] + [(50, "res5")]
NAMES = {"res5": "", "res4": "_t1", "res3": "_t2"}


def converted_model(tmp_path: Path, weights: dict, legacy: bool = False) -> tuple:
    """Write a published file, convert it and load the result; all tensors must match."""
    released = read_released(write_released(tmp_path / "released.pth", weights, legacy=legacy))
    converted = convert_released(released)
    path = tmp_path / "converted.safetensors"
    write_weights(path, converted.model, describe(converted.cfg))
    cfg = on_cpu(converted.cfg)
    model = build_model(cfg).eval()
    checkpointer = LesionCheckpointer(model, cfg=cfg)
    checkpointer.load(str(path))
    assert not checkpointer.last_report.fresh
    assert not checkpointer.last_report.unexpected
    return model, converted


def on_cpu(cfg: CfgNode) -> CfgNode:
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    return cfg


@pytest.mark.parametrize(("depth", "last_stage"), MODELS)
def test_every_backbone_finds_its_config(tmp_path: Path, depth: int, last_stage: str) -> None:
    weights = released_weights(depth, last_stage)
    converted = convert_released(read_released(write_released(tmp_path / "r.pth", weights)))
    assert converted.config_name == f"segmentation/resnet{depth}{NAMES[last_stage]}.yaml"
    assert converted.overrides == []
    assert converted.unused == []
    published = sum(
        t.numel() for n, t in weights.items() if "running" not in n and "num_b" not in n
    )
    assert published - converted.num_parameters == (773 if depth == 50 else 645)


@pytest.mark.parametrize(("depth", "last_stage"), [(18, "res3"), (34, "res4"), (50, "res5")])
def test_classifier_converts_and_runs(tmp_path: Path, depth: int, last_stage: str) -> None:
    num_rois, width = (256, 1024) if depth == 50 else (128, 512)
    weights = released_weights(
        depth, last_stage, kind="classification", num_rois=num_rois, width=width
    )
    model, converted = converted_model(tmp_path, weights)
    assert converted.config_name == f"classification/resnet{depth}{NAMES[last_stage]}.yaml"
    assert converted.overrides == []
    with torch.no_grad():
        output = model([{"image": torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)}])[0]
    rows = output["roi_batch"].flatten()
    for name in ("fc_scores", "fc_scores_2", "fc_scores_img"):
        rows = F.linear(rows, weights[f"s2new.{name}.weight"], weights[f"s2new.{name}.bias"])
        rows = rows if name == "fc_scores_img" else rows.relu()
    torch.testing.assert_close(output["logits"], rows)


@pytest.mark.parametrize(
    ("stage", "kind", "name", "override"),
    [
        ("res4", "segmentation", "segmentation/resnet18_t1_both.yaml", None),
        ("res4", "classification", "classification/resnet18_t1_both.yaml", None),
        ("res3", "segmentation", "segmentation/resnet18_t2.yaml", "cncb_ggo_consolidation_train"),
        ("res3", "classification", "classification/resnet18_t2.yaml", "covidx_ct_train"),
    ],
)
def test_two_lesion_classes(
    tmp_path: Path, stage: str, kind: str, name: str, override: str | None
) -> None:
    weights = released_weights(18, stage, num_classes=2, kind=kind)
    converted = convert_released(read_released(write_released(tmp_path / "r.pth", weights)))
    assert converted.config_name == name
    assert converted.cfg.MODEL.ROI_HEADS.NUM_CLASSES == 2
    assert bool(converted.overrides) == bool(override)
    if override:
        assert list(converted.cfg.DATASETS.TRAIN) == [override]


def test_sizes_without_a_shipped_config_become_overrides(tmp_path: Path) -> None:
    weights = released_weights(kind="classification", num_rois=64, width=32)
    model, converted = converted_model(tmp_path, weights)
    pairs = dict(zip(converted.overrides[::2], converted.overrides[1::2], strict=True))
    assert pairs == {"MODEL.ROI_BATCH.SIZE": 64, "MODEL.CLASSIFIER.WIDTH": 32}
    assert model.classifier.fc1.in_features == 64 * 5


@pytest.mark.parametrize("legacy", [False, True])
def test_box_and_mask_outputs_are_the_published_ones_reordered(
    tmp_path: Path, legacy: bool
) -> None:
    weights = released_weights(18, "res4", num_classes=2)
    model, _ = converted_model(tmp_path, weights, legacy)
    x = torch.randn(5, 128)

    def published(layer: str) -> torch.Tensor:
        name = f"roi_heads.box_predictor.{layer}"
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    with torch.no_grad():
        scores, deltas = model.roi_heads.box_predictor(x)
        expected = published("cls_score")
        torch.testing.assert_close(scores, cat([expected[:, 1:], expected[:, :1]], dim=1))
        torch.testing.assert_close(deltas, published("bbox_pred")[:, 4:])
        regions = torch.randn(2, 256, 14, 14)
        masks = model.roi_heads.mask_head.layers(regions)
    y = F.conv2d(regions, *_layer(weights, "roi_heads.mask_head.mask_fcn1"), padding=1).relu()
    y = F.conv_transpose2d(y, *_layer(weights, "roi_heads.mask_predictor.conv5_mask"), stride=2)
    y = F.conv2d(y.relu(), *_layer(weights, "roi_heads.mask_predictor.mask_fcn_logits"))
    torch.testing.assert_close(masks, y[:, 1:])


def _layer(weights: dict, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def test_backbone_and_fpn_levels_are_the_published_ones(tmp_path: Path) -> None:
    weights = released_weights(50, "res5")
    model, _ = converted_model(tmp_path, weights)
    image = torch.randn(1, 3, 64, 64)
    resnet = random_resnet(50)  # has the same weights
    with torch.no_grad():
        features = model.backbone(image)
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(image))))
        stages = [x := layer(x) for layer in (resnet.layer1, resnet.layer2, resnet.layer3)]
        stages.append(resnet.layer4(x))
        above = None
        for i in (3, 2, 1, 0):
            y = F.conv2d(stages[i], *_layer(weights, f"backbone.fpn.inner_blocks.{i}"))
            above = y if above is None else y + F.interpolate(above, scale_factor=2.0)
            level = F.conv2d(above, *_layer(weights, f"backbone.fpn.layer_blocks.{i}"), padding=1)
            torch.testing.assert_close(features[f"p{i + 2}"], level, rtol=1e-4, atol=1e-5)


def with_current_names(weights: dict) -> dict:
    """A published state dict with the names of current torchvision."""
    rules = {
        r"(fpn\.(?:inner|layer)_blocks\.\d)\.": r"\1.0.",
        r"rpn\.head\.conv\.": "rpn.head.conv.0.0.",
        r"mask_head\.mask_fcn(\d)\.": lambda match: f"mask_head.{int(match[1]) - 1}.0.",
    }
    for pattern, name in rules.items():
        weights = {re.sub(pattern, name, n): tensor for n, tensor in weights.items()}
    return weights


@pytest.mark.parametrize(
    ("depth", "stage", "kind"),
    [(18, "res4", "segmentation"), (50, "res5", "segmentation"), (18, "res3", "classification")],
)
def test_names_of_current_torchvision(depth: int, stage: str, kind: str) -> None:
    weights = released_weights(depth, stage, kind=kind)
    current = with_current_names(weights)
    assert "backbone.fpn.inner_blocks.0.0.weight" in current
    renamed, unused = rename_released(current)
    expected, _ = rename_released(weights)
    assert unused == []
    assert renamed.keys() == expected.keys()
    assert all(torch.equal(renamed[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", ["segmentation", "classification"])
def test_the_parity_checkpoints_under_current_names(tmp_path: Path, kind: str) -> None:
    path = Path(__file__).resolve().parents[3] / "shared" / "parity" / f"{kind}.pth"
    if not path.is_file():
        pytest.skip(f"the published checkpoints are not in {path.parent}")
    weights = read_released(path).weights
    written = write_released(tmp_path / "r.pth", with_current_names(weights))
    converted = convert_released(read_released(written))
    expected = convert_released(read_released(path))
    assert converted.config_name == expected.config_name == f"{kind}/resnet18_t2.yaml"
    assert all(torch.equal(converted.model[n], tensor) for n, tensor in expected.model.items())
    assert len(converted.model) == len(expected.model)


def test_old_files_without_num_batches_tracked(tmp_path: Path) -> None:
    weights = released_weights()
    old = {n: t for n, t in weights.items() if not n.endswith("num_batches_tracked")}
    converted_model(tmp_path, old, legacy=True)


def test_unknown_tensors_are_dropped_and_named(tmp_path: Path) -> None:
    weights = released_weights() | {"s2old.fc.weight": torch.ones(2)}
    converted = convert_released(read_released(write_released(tmp_path / "r.pth", weights)))
    assert converted.unused == ["s2old.fc.weight"]


def test_config_can_be_given(tmp_path: Path) -> None:
    released = read_released(write_released(tmp_path / "r.pth", released_weights(18, "res4")))
    converted = convert_released(released, "segmentation/resnet18_t1_ggo.yaml")
    assert list(converted.cfg.DATASETS.TRAIN) == ["cncb_ggo_train"]
    with pytest.raises(CheckpointError, match=r"OUT_FEATURES is \['res3'\] here and \['res4'\] in"):
        convert_released(released, "segmentation/resnet18_t2.yaml")
    with pytest.raises(CheckpointError, match=r"lacks classifier \(6 tensors\)"):
        convert_released(released, "classification/resnet18_t1.yaml")


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("backbone.body.layer1", "damaged|fit"),
        ("backbone.fpn", "an FPN"),
        ("roi_heads.box_predictor", "a box predictor"),
        ("roi_heads.mask_predictor", "mask predictor or a classifier"),
        ("roi_heads.box_head.fc7", r"lacks roi_heads.box_head \(2 tensors\)"),
        ("rpn.head.conv", r"lacks proposal_generator \(2 tensors\)"),
    ],
)
def test_missing_weights_are_an_error(tmp_path: Path, remove: str, message: str) -> None:
    weights = {n: t for n, t in released_weights().items() if not n.startswith(remove)}
    released = read_released(write_released(tmp_path / "r.pth", weights))
    with pytest.raises(CheckpointError, match=message):
        convert_released(released)


def test_wrong_shapes_are_an_error(tmp_path: Path) -> None:
    bad = {
        "roi_heads.box_predictor.bbox_pred.weight": torch.ones(3, 128),
        "roi_heads.box_predictor.bbox_pred.bias": torch.tensor(1.0),
    }
    released = read_released(write_released(tmp_path / "r.pth", released_weights() | bad))
    with pytest.raises(CheckpointError, match=r"another shape of roi_heads\.box_predictor"):
        convert_released(released)


def test_published_file_in_model_weights_says_how_to_convert(tmp_path: Path) -> None:
    model = build_model(on_cpu(ct_lesion.load_config("segmentation/resnet18_t2.yaml")))
    for legacy in (False, True):
        path = write_released(tmp_path / "r.pth", released_weights(), legacy=legacy)
        with pytest.raises(CheckpointError, match=r"ct-lesion convert-checkpoint"):
            LesionCheckpointer(model).load(str(path))
