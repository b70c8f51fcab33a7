"""Classifying on a GPU: batches in half precision beside one slice at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from ct_lesion.modeling.fast.inference import fast_inference

from .inference_rows import in_batches, one_at_a_time
from .models import config_of, load_weights, random_model
from .row import Pair, Settings, SkipRow, at_least, register_row
from .slices import chest_slices
from .timing import Work

BATCH_SIZE = 32
REGION_OPERATORS = ("roi_align", "nms")
"""What the names of RoIAlign's and NMS's operators have in them."""


@register_row(
    "classify-gpu-resnet18_t1",
    work="classify slices, GPU, ResNet18_T1",
    unit="slice",
    first="plain, one slice at a time, single precision",
    second="fast path, batches, half precision",
    target=at_least(10),
)
def classify(settings: Settings) -> Pair:
    if not torch.cuda.is_available():
        raise SkipRow("there is no GPU here")
    cfg = config_of(
        "classification/resnet18_t1.yaml", "MODEL.DEVICE", "cuda", "MODEL.FAST_PATH", "half"
    )
    plain = random_model(cfg)
    about = {"weights": load_weights(plain, cfg, settings), "batch": BATCH_SIZE}
    fast = fast_inference(plain, cfg)
    inputs = chest_slices(max(settings.slices, 2 * BATCH_SIZE), settings.size)
    batches = in_batches(fast, inputs, BATCH_SIZE)
    about["share of GPU time in RoIAlign and NMS"] = _share_of_regions(batches)
    about["slices with another class"] = _other_classes(plain, fast, inputs)
    return Pair(_finished(one_at_a_time(plain, inputs)), _finished(batches), about)


def _finished(work: Work) -> Work:
    """The work until the GPU is through with it."""

    def finished() -> float:
        done = work()
        torch.cuda.synchronize()
        return done

    return finished


def _share_of_regions(work: Work) -> float:
    """Share of the GPU's time in RoIAlign and NMS, after a first pass."""
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


@torch.no_grad()
def _other_classes(plain: nn.Module, fast: nn.Module, inputs: Sequence[dict[str, Any]]) -> int:
    return sum(plain([x])[0]["pred_class"] != fast([x])[0]["pred_class"] for x in inputs)
