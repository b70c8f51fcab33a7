"""Times training steps on the CPU, and training S on RoI batches that are computed once."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.layers import batched_nms
from detectron2.modeling.proposal_generator import proposal_utils
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage
from pycocotools import mask as coco_mask
from torch import nn

from ct_lesion.data.datasets.lesion_masks import MASK_TYPES, find_instances
from ct_lesion.data.loading.roi_batches import RoIBatches
from ct_lesion.engine.builders import build_optimizer
from ct_lesion.engine.roi_cache import build_cached_train_loader, extract_roi_batches
from ct_lesion.modeling.fast.training import use_fast_training
from ct_lesion.phantom.patient import make_patient

from .inputs import chest_slices, config_of, model_of
from .measure import Measured, Settings, Timed, Work, compared

COMPARED_STEPS = 20  # steps whose losses are compared
AFFINE_STEPS = 30  # smallest number of end-to-end steps timed over all rounds
CACHED_STEPS = 300  # steps of S timed per round
SAMPLE, EPOCHS = 3000, 50  # slices of the paper's training sample, epochs


def lesion_slices(count: int, size: int) -> list[dict]:
    """Training inputs of a segmenter: slices of a synthetic patient, with lesion instances."""
    patient = make_patient(0, "NCP", size, count, around_lesions=True)
    inputs = []
    for item, labels in zip(chest_slices(count, size), patient.labels, strict=True):
        lesions = find_instances(labels, MASK_TYPES["merge"], min_area=100)
        decoded = [coco_mask.decode(lesion.rle) for lesion in lesions]
        masks = BitMasks(np.stack(decoded) if decoded else np.zeros((0, size, size)))
        target = Instances(
            (size, size),
            gt_boxes=masks.get_bounding_boxes(),
            gt_classes=torch.zeros(len(masks), dtype=torch.int64),
            gt_masks=masks,
        )
        inputs.append({**item, "instances": target})
    return inputs


def make_stepper(model: nn.Module, cfg: CfgNode, inputs: Sequence[dict]) -> Callable[[], float]:
    """Return a function that trains on the next batch, with seeded draws, and returns the loss."""
    optimizer = build_optimizer(cfg, model.train())
    batches = itertools.cycle(inputs)
    numbers = itertools.count()

    def step() -> float:
        torch.manual_seed(next(numbers))  # both paths sample the same anchors and regions
        batch = list(itertools.islice(batches, cfg.SOLVER.IMS_PER_BATCH))
        loss = sum(model(batch).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _steps(step: Callable[[], float], count: int) -> Work:
    def work() -> int:
        with EventStorage():
            for _ in range(count):
                step()
        return count

    return work


def train_segmenter(settings: Settings) -> Measured:
    """Training steps with Detectron2's modules and with their faster equivalents."""
    cfg = config_of("segmentation/resnet18_t1.yaml")
    start, weights = model_of(cfg, settings)
    inputs = lesion_slices(settings.slices, settings.size)
    plain, fast = copy.deepcopy(start), copy.deepcopy(start)
    use_fast_training(fast, cfg)
    return compared(
        _steps(make_stepper(plain, cfg, inputs), settings.slices),
        _steps(make_stepper(fast, cfg, inputs), settings.slices),
        settings,
        {"weights": weights} | _loss_differences(start, cfg, inputs),
    )


def _loss_differences(start: nn.Module, cfg: CfgNode, inputs: Sequence[dict]) -> dict[str, Any]:
    """Largest relative differences between the losses of the two paths in the first steps.

    In single precision, rounding decides which of two similar proposals NMS keeps, and thus which
    regions are sampled in all later steps. The paths are therefore compared in double precision.
    For single precision, the difference of the plain path on two numbers of threads is reported
    too, as a reference.
    """
    threads = torch.get_num_threads()
    other = 1 if threads > 1 else 2
    with _double_nms():
        exact = copy.deepcopy(start).double()
        double = [_losses(exact, cfg, inputs, fast, threads) for fast in (False, True)]
    plain, fast = (_losses(start, cfg, inputs, fast, threads) for fast in (False, True))
    rethreaded = _losses(start, cfg, inputs, False, other)
    label = f"largest relative difference of losses, {COMPARED_STEPS} steps"
    return {
        f"{label}, double precision": _difference(*double),
        f"{label}, single precision": _difference(plain, fast),
        f"{label}, plain on {threads} and on {other} threads": _difference(plain, rethreaded),
    }


def _losses(
    start: nn.Module, cfg: CfgNode, inputs: Sequence[dict], fast: bool, threads: int
) -> torch.Tensor:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    model = copy.deepcopy(start)
    if fast:
        use_fast_training(model, cfg)
    step = make_stepper(model, cfg, inputs)
    with EventStorage():
        values = torch.tensor([step() for _ in range(COMPARED_STEPS)], dtype=torch.float64)
    torch.set_num_threads(before)
    return values


def _difference(expected: torch.Tensor, actual: torch.Tensor) -> float:
    return ((actual - expected) / expected).abs().max().item()


def _double_nms() -> AbstractContextManager:
    """Let the RPN run in double precision: torchvision needs boxes and scores of one type."""
    return mock.patch.object(
        proposal_utils, "batched_nms", lambda b, s, *rest: batched_nms(b, s.float(), *rest)
    )


def train_classifier(settings: Settings) -> Measured:
    """Time of training end to end, and of training S on stored RoI batches.

    Both are extrapolated from a few steps. No files are read.
    """
    cfg = config_of("classification/resnet18_t1.yaml", "MODEL.FAST_PATH", "off")
    cached = config_of(
        *("classification/resnet18_t1.yaml", "MODEL.CLASSIFIER.TRAIN_BATCHNORM", "none")
    )
    batch = cfg.SOLVER.IMS_PER_BATCH
    inputs = [
        {**item, "label": index % 3, "image_id": index}
        for index, item in enumerate(chest_slices(settings.slices, settings.size))
    ]
    affine, weights = model_of(cfg, settings)
    detector, _ = model_of(cached, settings)
    total = math.ceil(SAMPLE * EPOCHS / batch)
    count = math.ceil(AFFINE_STEPS / settings.rounds)
    step = make_stepper(affine, cfg, inputs)

    def end_to_end() -> Timed:
        began = time.perf_counter()
        _steps(step, count)()
        return Timed(1, (time.perf_counter() - began) / count * total)

    parts: dict[str, float] = {}

    def once_then_classifier() -> Timed:
        began = time.perf_counter()
        loader = [inputs[i : i + batch] for i in range(0, len(inputs), batch)]
        cache = extract_roi_batches(cached, detector, loader)
        extraction = (time.perf_counter() - began) / len(cache) * SAMPLE
        began = time.perf_counter()
        _train_on(cache, detector, cached, CACHED_STEPS)
        steps = (time.perf_counter() - began) / CACHED_STEPS * total
        parts.update({"seconds of the pass": extraction, "seconds of S": steps})
        return Timed(1, extraction + steps)

    facts = {
        "weights": weights,
        "affine steps timed": count * settings.rounds,
        "last round": parts,
    }
    return compared(end_to_end, once_then_classifier, settings, facts)


def _train_on(cache: RoIBatches, model: nn.Module, cfg: CfgNode, count: int) -> None:
    """Train S on RoI batches as a run does: with its loader, Adam and recorded losses."""
    repeated = {
        name: value.repeat(math.ceil(SAMPLE / len(cache)), axis=0)
        for name, value in vars(cache).items()
        if hasattr(value, "shape")
    }
    loader = build_cached_train_loader(cfg, RoIBatches(**repeated), seed=0)
    optimizer = build_optimizer(cfg, model.train())
    with EventStorage() as storage:
        for batch in itertools.islice(loader, count):
            losses = model(batch)
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            storage.put_scalars(**{name: loss.item() for name, loss in losses.items()})
            storage.step()
