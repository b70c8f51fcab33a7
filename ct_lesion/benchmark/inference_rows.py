"""Classifying and segmenting slices on the CPU, and how far that is from the convolutions alone."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ct_lesion.modeling.fast.convolutions import fold_batchnorm
from ct_lesion.modeling.fast.inference import fast_inference
from ct_lesion.modeling.fast.parallel_slices import map_on_cores

from .models import config_of, load_weights, random_model, shift_scores
from .row import Pair, Settings, at_least, at_most, register_row
from .slices import chest_slices
from .timing import Work

SCORE_THRESHOLD = 0.75  # of the paper's Table 2


def one_at_a_time(model: nn.Module, inputs: Sequence[dict]) -> Work:
    """Pass the slices one by one."""

    def work() -> int:
        with torch.no_grad():
            for item in inputs:
                model([item])
        return len(inputs)

    return work


def in_batches(model: nn.Module, inputs: Sequence[dict], size: int) -> Work:
    """Pass the slices in batches."""

    def work() -> int:
        with torch.no_grad():
            for start in range(0, len(inputs), size):
                model(list(inputs[start : start + size]))
        return len(inputs)

    return work


def _classify(name: str, settings: Settings) -> Pair:
    cfg = config_of(f"classification/{name}.yaml")
    plain = random_model(cfg)
    about = {"weights": "random, seed 0"}
    if name == "resnet18_t1":
        about["weights"] = load_weights(plain, cfg, settings)
    fast = fast_inference(plain, cfg)
    inputs = chest_slices(settings.slices, settings.size)
    return Pair(
        one_at_a_time(plain, inputs),
        in_batches(fast, inputs, len(inputs)),
        about | _class_differences(plain, fast, inputs),
    )


@register_row(
    "classify-resnet18_t1",
    work="classify slices, CPU, ResNet18_T1",
    unit="slice",
    first="plain, one slice at a time",
    second="fast path, all slices of a round in a batch",
    target=at_least(2.5),
)
def classify_resnet18(settings: Settings) -> Pair:
    return _classify("resnet18_t1", settings)


@register_row(
    "classify-resnet34_t1",
    work="classify slices, CPU, ResNet34_T1",
    unit="slice",
    first="plain, one slice at a time",
    second="fast path, all slices of a round in a batch",
    target=at_least(1.8),
)
def classify_resnet34(settings: Settings) -> Pair:
    return _classify("resnet34_t1", settings)


@register_row(
    "segment-resnet18_t1",
    work="segment slices, CPU, ResNet18_T1, score above 0.75",
    unit="slice",
    first="plain, one slice at a time",
    second="fast path, all slices of a round in a batch",
    target=at_least(2.2),
)
def segment(settings: Settings) -> Pair:
    cfg = config_of(
        "segmentation/resnet18_t1.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", SCORE_THRESHOLD
    )
    plain = random_model(cfg)
    inputs = chest_slices(settings.slices, settings.size)
    about = {"weights": load_weights(plain, cfg, settings)}
    if settings.weights is None:
        shift_scores(plain, inputs, SCORE_THRESHOLD)
        about["weights"] += ", scores shifted"
    fast = fast_inference(plain, cfg)
    return Pair(
        one_at_a_time(plain, inputs),
        in_batches(fast, inputs, len(inputs)),
        about | _detection_differences(plain, fast, inputs),
    )


@register_row(
    "floor-resnet18_t1",
    work="distance to the floor, CPU, ResNet18_T1",
    unit="slice",
    first="fast path, classifying",
    second="folded channels-last convolutions of backbone, FPN and RPN head alone",
    target=at_most(1.6),
)
def floor(settings: Settings) -> Pair:
    cfg = config_of("classification/resnet18_t1.yaml")
    plain = random_model(cfg)
    about = {"weights": load_weights(plain, cfg, settings)}
    fast = fast_inference(plain, cfg)
    inputs = chest_slices(settings.slices, settings.size)
    calls = _convolutions(plain, inputs[0])
    about["convolutions"] = len(calls)
    return Pair(
        in_batches(fast, inputs, len(inputs)), _convolutions_alone(calls, len(inputs)), about
    )


def _convolutions(model: nn.Module, item: dict) -> list[tuple[nn.Conv2d, torch.Tensor]]:
    """Every convolution of backbone, FPN and RPN head, and its input on a slice."""
    parts = nn.ModuleList([model.backbone, model.proposal_generator.rpn_head])
    parts = fold_batchnorm(copy.deepcopy(parts)).to(memory_format=torch.channels_last)
    calls: list[tuple[nn.Conv2d, torch.Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda conv, args, _: calls.append((conv, args[0])))
        for layer in parts.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        image = model._preprocess([item["image"]]).tensor
        features = parts[0](image.contiguous(memory_format=torch.channels_last))
        parts[1]([features[name] for name in model.proposal_generator.in_features])
    for hook in hooks:
        hook.remove()

    return calls


def _convolutions_alone(calls: Sequence[tuple[nn.Conv2d, torch.Tensor]], slices: int) -> Work:
    """The convolutions of as many slices, a slice a core as on the fast path, and nothing else."""

    def convolve(_: int) -> None:
        with torch.inference_mode():
            for conv, x in calls:
                F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding)

    def work() -> int:
        map_on_cores(convolve, range(slices), torch.get_num_threads())
        return slices

    return work


@torch.no_grad()
def _class_differences(plain: nn.Module, fast: nn.Module, inputs: Sequence[dict]) -> dict[str, Any]:
    pairs = [(plain([item])[0], fast([item])[0]) for item in inputs]
    return {
        "largest difference of logits": max(
            (a["logits"] - b["logits"]).abs().max().item() for a, b in pairs
        ),
        "largest logit": max(a["logits"].abs().max().item() for a, _ in pairs),
    }


@torch.no_grad()
def _detection_differences(
    plain: nn.Module, fast: nn.Module, inputs: Sequence[dict]
) -> dict[str, Any]:
    pairs = [(plain([x])[0]["instances"], fast([x])[0]["instances"]) for x in inputs]
    same = [(a, b) for a, b in pairs if len(a) == len(b)]
    gaps = [
        (a.pred_boxes.tensor - b.pred_boxes.tensor).abs().max().item() for a, b in same if len(a)
    ]
    return {
        "detections a slice": sum(len(a) for a, _ in pairs) / len(pairs),
        "slices with another number of detections": len(pairs) - len(same),
        "largest difference of boxes, px": max(gaps, default=0.0),
    }
