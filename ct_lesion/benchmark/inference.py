"""Classifies and segments slices: plain, on the fast path, on a GPU, and with torchvision."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from ct_lesion.modeling.fast.convolutions import fold_batchnorm
from ct_lesion.modeling.fast.inference import fast_inference
from ct_lesion.modeling.fast.parallel_slices import map_on_cores

from .inputs import chest_slices, config_of, model_of, segmenter
from .measure import Measured, NotMeasurable, Settings, Work, compared

REGION_OPERATORS = ("roi_align", "nms")
"""Substrings of the names of RoIAlign's and NMS's operators."""


# ---- work ---------------------------------------------------------------------------------------
def one_at_a_time(model: nn.Module, inputs: Sequence[dict]) -> Work:
    """Work that passes the slices one by one."""

    def work() -> int:
        with torch.no_grad():
            for item in inputs:
                model([item])
        return len(inputs)

    return work


def in_batches(model: nn.Module, inputs: Sequence[dict], size: int) -> Work:
    """Work that passes the slices in batches."""

    def work() -> int:
        with torch.no_grad():
            for start in range(0, len(inputs), size):
                model(list(inputs[start : start + size]))
        return len(inputs)

    return work


# ---- CPU ----------------------------------------------------------------------------------------
def classify(name: str, settings: Settings) -> Measured:
    """Plain and fast path of the classifier ``name``; only ResNet18_T1 uses the user's weights."""
    cfg = config_of(f"classification/{name}.yaml")
    plain, weights = model_of(cfg, settings if name == "resnet18_t1" else Settings())
    fast = fast_inference(plain, cfg)
    inputs = chest_slices(settings.slices, settings.size)
    return compared(
        one_at_a_time(plain, inputs),
        in_batches(fast, inputs, len(inputs)),
        settings,
        {"weights": weights} | _class_differences(plain, fast, inputs),
    )


def segment(settings: Settings) -> Measured:
    """Plain and fast path of the segmenter."""
    cfg, plain, weights = segmenter(settings)
    inputs = chest_slices(settings.slices, settings.size)
    fast = fast_inference(plain, cfg)
    return compared(
        one_at_a_time(plain, inputs),
        in_batches(fast, inputs, len(inputs)),
        settings,
        {"weights": weights} | _detection_differences(plain, fast, inputs),
    )


def to_the_floor(settings: Settings) -> Measured:
    """Fast path of the classifier, and its convolutions alone, the floor of its time."""
    cfg = config_of("classification/resnet18_t1.yaml")
    plain, weights = model_of(cfg, settings)
    inputs = chest_slices(settings.slices, settings.size)
    calls = _convolutions(plain, inputs[0])
    return compared(
        in_batches(fast_inference(plain, cfg), inputs, len(inputs)),
        _convolutions_alone(calls, len(inputs)),
        settings,
        {"weights": weights, "convolutions": len(calls)},
    )


def _convolutions(model: nn.Module, item: dict) -> list[tuple[nn.Conv2d, torch.Tensor]]:
    """Each call of a convolution of backbone, FPN and RPN head, with its input for a slice."""
    parts = copy.deepcopy(nn.ModuleList([model.backbone, model.proposal_generator.rpn_head]))
    fold_batchnorm(parts)
    parts.to(memory_format=torch.channels_last)
    calls: list[tuple[nn.Conv2d, torch.Tensor]] = []
    hooks = [
        layer.register_forward_hook(lambda conv, args, _: calls.append((conv, args[0])))
        for layer in parts.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    with torch.inference_mode():
        image = model.preprocess_image([item]).tensor
        features = parts[0](image.contiguous(memory_format=torch.channels_last))
        parts[1]([features[name] for name in model.proposal_generator.in_features])
    for hook in hooks:
        hook.remove()
    return calls


def _convolutions_alone(calls: Sequence[tuple[nn.Conv2d, torch.Tensor]], slices: int) -> Work:
    """Work that only convolves ``slices`` slices, one per core as on the fast path."""

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
        "slices with another class": sum(int(a["pred_class"] != b["pred_class"]) for a, b in pairs),
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
        "detections per slice": sum(len(a) for a, _ in pairs) / len(pairs),
        "slices with another number of detections": len(pairs) - len(same),
        "largest difference of boxes, px": max(gaps, default=0.0),
    }


# ---- GPU ----------------------------------------------------------------------------------------
def on_gpu(task: str, batch: int, precision: str, settings: Settings) -> Measured:
    """On a GPU: plain, one slice at a time in single precision, and the fast path in batches.

    Args:
        task: "classify" or "segment".
        batch: slices in a batch of the fast path.
        precision: value of ``MODEL.FAST_PATH``: "auto" (single precision) or "half".
    """
    if not torch.cuda.is_available():
        raise NotMeasurable("there is no GPU here")
    overrides = ("MODEL.DEVICE", "cuda", "MODEL.FAST_PATH", precision)
    if task == "segment":
        cfg, plain, weights = segmenter(settings, *overrides)
        differences = _detection_differences
    else:
        cfg = config_of("classification/resnet18_t1.yaml", *overrides)
        plain, weights = model_of(cfg, settings)
        differences = _class_differences
    fast = fast_inference(plain, cfg)
    inputs = chest_slices(max(settings.slices, 2 * batch), settings.size)
    batches = in_batches(fast, inputs, batch)
    facts = {
        "weights": weights,
        "share of GPU time in RoIAlign and NMS": _share_of_regions(batches),
    } | differences(plain, fast, inputs)
    return compared(
        _synchronized(one_at_a_time(plain, inputs)), _synchronized(batches), settings, facts
    )


def _synchronized(work: Work) -> Work:
    """Work that also waits until the GPU has finished."""

    def synchronized() -> float:
        done = work()
        torch.cuda.synchronize()
        return done

    return synchronized


def _share_of_regions(work: Work) -> float:
    """Share (0..1) of the GPU's time in RoIAlign and NMS, after a warm-up pass."""
    work()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as measured:
        work()
        torch.cuda.synchronize()
    events = measured.key_averages()
    total = sum(event.self_device_time_total for event in events)
    regions = sum(
        event.self_device_time_total
        for event in events
        if any(name in event.key.lower() for name in REGION_OPERATORS)
    )
    return regions / total


# ---- torchvision --------------------------------------------------------------------------------
def segment_beside_torchvision(settings: Settings) -> Measured:
    """torchvision's Mask R-CNN of the same architecture, and the fast path."""
    cfg, model, weights = segmenter(settings)
    inputs = chest_slices(settings.slices, settings.size)
    peer = torchvision_model(cfg, settings.size).eval()
    images = [item["image"] / 255 for item in inputs]
    facts = {
        "weights": weights,
        # random weights detect almost nothing, so there are fewer masks to paste
        "torchvision's weights": "random; fewer detections, so less work after the box head",
        "torchvision's parameters": sum(p.numel() for p in peer.parameters()),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return compared(
        _torchvision(peer, images),
        in_batches(fast_inference(model, cfg), inputs, len(inputs)),
        settings,
        facts,
    )


def _torchvision(model: nn.Module, images: list[torch.Tensor]) -> Work:
    def work() -> int:
        with torch.inference_mode():
            for image in images:
                model([image])
        return len(images)

    return work


def torchvision_model(cfg: CfgNode, size: int) -> MaskRCNN:
    """torchvision's Mask R-CNN with the architecture of a config of ResNet18_T1."""
    torch.manual_seed(0)
    keys = cfg.MODEL
    channels, classes = keys.FPN.OUT_CHANNELS, keys.ROI_HEADS.NUM_CLASSES + 1
    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{keys.RESNETS.DEPTH}",
        weights=None,
        trainable_layers=5,
        returned_layers=[3],  # res4
        norm_layer=nn.BatchNorm2d,
    )
    # a single level, like ours: no pooled level; layer4 is left out, since nothing reads it
    backbone.fpn.extra_blocks = None
    box, mask = keys.ROI_BOX_HEAD, keys.ROI_MASK_HEAD
    pooled = channels * box.POOLER_RESOLUTION**2
    return MaskRCNN(
        backbone,
        min_size=size,
        max_size=size,
        image_mean=[value / 255 for value in keys.PIXEL_MEAN],
        image_std=[value / 255 for value in keys.PIXEL_STD],
        rpn_anchor_generator=AnchorGenerator(
            tuple(map(tuple, keys.ANCHOR_GENERATOR.SIZES)),
            tuple(map(tuple, keys.ANCHOR_GENERATOR.ASPECT_RATIOS)),
        ),
        rpn_pre_nms_top_n_test=keys.RPN.PRE_NMS_TOPK_TEST,
        rpn_post_nms_top_n_test=keys.RPN.POST_NMS_TOPK_TEST,
        rpn_nms_thresh=keys.RPN.NMS_THRESH,
        box_roi_pool=_pooler(box),
        box_head=TwoMLPHead(pooled, box.FC_DIM),
        box_predictor=FastRCNNPredictor(box.FC_DIM, classes),
        box_score_thresh=keys.ROI_HEADS.SCORE_THRESH_TEST,
        box_nms_thresh=keys.ROI_HEADS.NMS_THRESH_TEST,
        box_detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
        mask_roi_pool=_pooler(mask),
        mask_head=MaskRCNNHeads(channels, [mask.CONV_DIM] * mask.NUM_CONV, 1),
        mask_predictor=MaskRCNNPredictor(mask.CONV_DIM, mask.CONV_DIM, classes),
    )


def _pooler(head: CfgNode) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(["0"], head.POOLER_RESOLUTION, head.POOLER_SAMPLING_RATIO)
