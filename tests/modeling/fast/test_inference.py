"""The fast path gives the plain path's results, for all kinds of models and inputs."""

import copy

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ct_lesion import load_config
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.fast.inference import HalfPrecision, fast_inference
from ct_lesion.modeling.fast.parallel_slices import ParallelSlices
from ct_lesion.modeling.fast.roi_align import FastROIAlign, InferenceROIAlign
from ct_lesion.modeling.fast.training import use_fast_training

SMALL = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BATCH.SIZE", 16, "MODEL.CLASSIFIER.WIDTH", 32]
SMALL += ["MODEL.RPN.PRE_NMS_TOPK_TEST", 200, "MODEL.RPN.POST_NMS_TOPK_TEST", 40]
SMALL += ["TEST.DETECTIONS_PER_IMAGE", 8]
SIGMOID = ["MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST", "sigmoid"]
ADAPTIVE = ["MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO", 0]
ADAPTIVE += ["MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO", 0]
CONVOLUTIONS = ["MODEL.ROI_BOX_HEAD.NUM_CONV", 1, "MODEL.ROI_BOX_HEAD.CONV_DIM", 32]
MIXED = ((64, 64), (96, 60), (64, 64), (61, 64))


def make(name: str, *overrides: object) -> tuple[CfgNode, nn.Module]:
    """A model in test mode, with random weights for which regions and BatchNorm layers differ."""
    cfg = load_config(name, [*SMALL, *overrides])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("cls_score.weight", "bbox_pred.weight", "objectness_logits.weight")):
                parameter.mul_(30)
        for norm in (m for m in model.modules() if isinstance(m, _BatchNorm)):
            norm.running_mean.normal_(std=0.1)
            norm.running_var.uniform_(0.5, 1.5)
            norm.weight.uniform_(0.3, 0.7)
            norm.bias.normal_(std=0.1)
    return cfg, model


def make_inputs(*sizes: tuple[int, int]) -> list[dict]:
    generator = torch.Generator().manual_seed(5)
    return [
        {"image": torch.randint(256, (3, *size), generator=generator, dtype=torch.uint8)}
        for size in sizes
    ]


@torch.no_grad()
def assert_same(cfg: CfgNode, model: nn.Module, inputs: list[dict]) -> list[dict]:
    """Compare the fast path on a batch with the plain path on single slices.

    The plain segmenter pads the slices of a batch to one size, which changes the detections near
    their borders.

    Returns:
        The plain path's outputs.
    """
    plain = [model([item])[0] for item in inputs]
    fast = fast_inference(model, cfg)(inputs)
    for a, b in zip(plain, fast, strict=True):
        assert a.keys() == b.keys()
        assert_same_regions(a["instances"], b["instances"])
        for key, tolerance in (("logits", 1e-4), ("roi_batch", 1e-4), ("probabilities", 1e-4)):
            if key in a:
                torch.testing.assert_close(b[key], a[key], atol=tolerance, rtol=0)
    return plain


def assert_same_regions(plain, fast) -> None:
    assert len(fast) == len(plain)
    assert fast.image_size == plain.image_size
    assert fast.get_fields().keys() == plain.get_fields().keys()
    boxes = fast.pred_boxes.tensor
    torch.testing.assert_close(boxes, plain.pred_boxes.tensor, atol=1e-2, rtol=0)
    torch.testing.assert_close(fast.scores, plain.scores, atol=1e-4, rtol=0)
    assert torch.equal(fast.pred_classes, plain.pred_classes)
    if plain.has("pred_masks"):
        assert fast.pred_masks.dtype == torch.bool
        # a pixel whose probability is 0.5 up to rounding may fall on either side
        different = (fast.pred_masks != plain.pred_masks).sum().item()
        assert different <= 1e-3 * plain.pred_masks.numel()


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("resnet18_t1", []),
        ("resnet18_t1_both", ADAPTIVE),
        ("resnet34_t2", SIGMOID),
        ("resnet50", []),
    ],
)
def test_classifiers(name: str, overrides: list) -> None:
    assert_same(*make(f"classification/{name}.yaml", *overrides), make_inputs(*MIXED))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("resnet18_t2", ADAPTIVE),
        ("resnet18_t1_both", SIGMOID),
        ("resnet18_t1_recommended", CONVOLUTIONS),
        ("resnet50", []),
    ],
)
def test_segmenters(name: str, overrides: list) -> None:
    plain = assert_same(*make(f"segmentation/{name}.yaml", *overrides), make_inputs(*MIXED))
    assert all(len(output["instances"]) for output in plain)


def textured(count: int, side: int) -> list[dict]:
    """Slices of smooth structures of several sizes, between black and white."""
    generator = torch.Generator().manual_seed(7)
    inputs = []
    for _ in range(count):
        layers = [torch.rand(1, 1, n, n, generator=generator) for n in (4, 12, side // 2)]
        slice_ = sum(
            nn.functional.interpolate(x, size=(side, side), mode="bicubic") for x in layers
        )
        grey = (255 * slice_ / slice_.max()).clamp(0, 255).to(torch.uint8)
        inputs.append({"image": grey[0].expand(3, side, side).clone()})
    return inputs


def matched(plain: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
    """The rows of a fast RoI batch in the order of the plain one's.

    A row only trades places with rows whose score differs by less than 1e-5.
    """
    torch.testing.assert_close(fast[:, 0], plain[:, 0], atol=1e-5, rtol=0)
    left, order = list(range(len(fast))), []
    for row in plain:
        tied = [i for i in left if abs(fast[i, 0] - row[0]) < 1e-5]
        order.append(min(tied, key=lambda i: (fast[i] - row).abs().max().item()))
        left.remove(order[-1])
    return fast[order]


@torch.no_grad()
def test_near_ties_may_change_their_order_and_nothing_else() -> None:
    cfg = load_config("classification/resnet18_t1.yaml", [*SMALL, "MODEL.ROI_BATCH.SIZE", 64])
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():  # scores within 1e-5 of each other, of regions in different places
        model.roi_heads.box_predictor.cls_score.weight.mul_(1e-4)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(100)
    inputs = textured(2, 96)
    for item, output in zip(inputs, fast_inference(model, cfg)(inputs), strict=True):
        (plain,) = model([item])
        rows = matched(plain["roi_batch"], output["roi_batch"])
        torch.testing.assert_close(rows, plain["roi_batch"], atol=1e-4, rtol=0)
        logits = model.classifier(rows[None])[0]
        torch.testing.assert_close(logits, plain["logits"], atol=1e-4, rtol=0)


def test_no_detection() -> None:
    cfg, model = make("segmentation/resnet18_t2.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 1.0)
    plain = assert_same(cfg, model, make_inputs(*MIXED))
    assert not any(len(output["instances"]) for output in plain)


def test_no_region_for_the_classifier() -> None:
    cfg, model = make("classification/resnet18_t2.yaml", "MODEL.ROI_BATCH.SCORE_THRESH", 2.0)
    (plain,) = assert_same(cfg, model, make_inputs((64, 64)))
    assert not plain["roi_batch"].any()


def test_detections_are_rescaled_to_the_original_slice() -> None:
    cfg, model = make("segmentation/resnet18_t2.yaml")
    (item,) = make_inputs((64, 64))
    (plain,) = assert_same(cfg, model, [item | {"height": 100, "width": 130}])
    assert plain["instances"].pred_masks.shape[1:] == (100, 130)


@torch.no_grad()
def test_given_roi_batches_skip_the_detector() -> None:
    cfg, model = make("classification/resnet18_t2.yaml")
    inputs = [{"roi_batch": torch.rand(16, 5)}]
    torch.testing.assert_close(
        fast_inference(model, cfg)(inputs)[0]["logits"], model(inputs)[0]["logits"]
    )


def test_the_model_itself_is_untouched() -> None:
    cfg, model = make("segmentation/resnet18_t2.yaml")
    model.train()
    before = copy.deepcopy(model.state_dict())
    modules = [type(module) for module in model.modules()]
    fast = fast_inference(model, cfg)
    with torch.no_grad():
        fast(make_inputs((64, 64)))
    assert model.training and not fast.training
    assert [type(module) for module in model.modules()] == modules
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert any(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in fast.parameters())


def test_it_copies_the_current_weights() -> None:
    cfg, model = make("classification/resnet18_t2.yaml")
    inputs = make_inputs((64, 64))
    (before,) = assert_same(cfg, model, inputs)
    with torch.no_grad():
        model.backbone.bottom_up.stem.conv1.weight.mul_(-1)
    (after,) = assert_same(cfg, model, inputs)
    assert not torch.allclose(before["roi_batch"], after["roi_batch"], atol=1e-3)


def test_a_model_that_trains_on_the_fast_path() -> None:
    cfg, model = make("segmentation/resnet18_t2.yaml")
    assert use_fast_training(model, cfg)
    assert_same(cfg, model, make_inputs((64, 64)))
    assert pooler_types(fast_inference(model, cfg)) == {InferenceROIAlign}
    assert pooler_types(model) == {FastROIAlign}


def inside(model: nn.Module) -> nn.Module:
    """The model for a single slice, without the wrapper that spreads a batch over the cores."""
    return model.model if isinstance(model, ParallelSlices) else model


def pooler_types(model: nn.Module) -> set[type]:
    heads = inside(model).roi_heads
    poolers = (heads.box_pooler, heads.mask_pooler)
    return {type(level) for pooler in poolers for level in pooler.level_poolers}


@torch.no_grad()
def test_outputs_do_not_change_with_the_next_slice() -> None:
    """The memory of the regions is reused."""
    cfg, model = make("segmentation/resnet18_t2.yaml")
    fast = fast_inference(model, cfg)
    first, second = make_inputs((64, 64), (64, 64))
    (output,) = fast([first])
    kept = copy.deepcopy(output["instances"])
    fast([second])
    assert_same_regions(kept, output["instances"])


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ct_lesion.modeling.fast.roi_align.numba_is_installed", lambda: False)
    cfg, model = make("classification/resnet18_t2.yaml")
    assert_same(cfg, model, make_inputs((64, 64)))
    fast = fast_inference(model, cfg)
    assert not any(isinstance(module, InferenceROIAlign) for module in fast.modules())


def test_off_and_unknown_values_of_the_key() -> None:
    cfg, model = make("classification/resnet18_t2.yaml", "MODEL.FAST_PATH", "off")
    assert fast_inference(model, cfg) is model
    cfg.MODEL.FAST_PATH = "fast"
    with pytest.raises(ConfigError, match=r"MODEL\.FAST_PATH is 'fast', expected one of auto"):
        fast_inference(model, cfg)


def test_half_precision_is_ignored_on_a_cpu() -> None:
    assert_same(
        *make("classification/resnet18_t2.yaml", "MODEL.FAST_PATH", "half"), make_inputs((64, 64))
    )


@torch.no_grad()
def test_half_precision_is_close() -> None:
    """Tests the numbers only: autocast also works on a CPU, but is slow."""
    cfg, model = make("classification/resnet18_t2.yaml")
    inputs = make_inputs((64, 64))
    half = HalfPrecision(inside(fast_inference(model, cfg)))
    dtypes = []
    align = half.model.roi_heads.box_pooler.level_poolers[0]
    align.register_forward_pre_hook(lambda _, args: dtypes.extend(x.dtype for x in args))
    (exact,), (output,) = model(inputs), half(inputs)
    assert dtypes == [torch.float32] * 2
    assert output["logits"].dtype == torch.float32
    torch.testing.assert_close(
        output["roi_batch"][:, 0], exact["roi_batch"][:, 0], atol=2e-2, rtol=0
    )


def test_other_models_are_returned_unchanged() -> None:
    model = nn.Linear(2, 2)
    assert fast_inference(model, load_config("segmentation/resnet18_t2.yaml")) is model
