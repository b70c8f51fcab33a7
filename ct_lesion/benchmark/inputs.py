"""Slices and models to measure on, the same on every machine."""

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ct_lesion.checkpoint import LesionCheckpointer
from ct_lesion.config import load_config
from ct_lesion.modeling.roi_batch import box_outputs
from ct_lesion.phantom.patient import make_patient
from ct_lesion.scans.windows import window_to_uint8

from .measure import Settings

SCORE_THRESHOLD = 0.75  # of the paper's Table 2
DETECTIONS_WANTED = 12
"""Regions per slice that pass the score threshold with random weights, before NMS."""


@functools.lru_cache(maxsize=4)
def chest_slices(count: int, size: int) -> tuple[dict, ...]:
    """Inputs of a model: lesion slices of a synthetic COVID-19 patient.

    Args:
        count: number of slices.
        size: height and width in pixels, at least 64.

    Returns:
        dicts with ``image`` (3, size, size) uint8, ``height`` and ``width``.
    """
    patient = make_patient(0, "NCP", size, count, around_lesions=True)
    grey = window_to_uint8(patient.hu)
    images = torch.from_numpy(np.repeat(grey[:, None], 3, axis=1))
    return tuple({"image": image, "height": size, "width": size} for image in images)


def config_of(name: str, *overrides: object) -> CfgNode:
    """Load a shipped config for the CPU; ``overrides`` are keys and values."""
    return load_config(name, ["MODEL.DEVICE", "cpu", *overrides])


def random_model(cfg: CfgNode) -> nn.Module:
    """Build a model in test mode with seeded random weights.

    The initial weights of RPN and box head are so small that all regions get similar scores. They
    are enlarged, so that scores and positions of regions differ like those of a trained model.
    """
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("objectness_logits.weight", "cls_score.weight")):
                parameter.mul_(30)
    return model


def model_of(cfg: CfgNode, settings: Settings) -> tuple[nn.Module, str]:
    """The model, with the user's weights if given or random ones, and a text about the weights."""
    model = random_model(cfg)
    if settings.weights is None:
        return model, "random, seed 0"
    LesionCheckpointer(model, cfg=cfg).load(str(settings.weights))
    return model, settings.weights.name


def segmenter(settings: Settings, *overrides: object) -> tuple[CfgNode, nn.Module, str]:
    """Config and model of ResNet18_T1 that detects lesions, and a text about its weights."""
    threshold = ("MODEL.ROI_HEADS.SCORE_THRESH_TEST", SCORE_THRESHOLD)
    cfg = config_of("segmentation/resnet18_t1.yaml", *threshold, *overrides)
    model, weights = model_of(cfg, settings)
    if settings.weights is None:
        shift_scores(model, chest_slices(settings.slices, settings.size), SCORE_THRESHOLD)
        weights += ", scores shifted"
    return cfg, model, weights


@torch.no_grad()
def shift_scores(model: nn.Module, inputs: Sequence[dict], threshold: float) -> None:
    """Make a random segmenter detect as many regions as a trained one.

    Sets the lesion class's bias in the box head so that, on average, ``DETECTIONS_WANTED`` regions
    per slice score above the threshold.
    """
    margins = []
    for item in inputs:
        images = model.preprocess_image([item])
        features = model.backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        (outputs,) = box_outputs(model.roi_heads, features, proposals)
        margins.append(outputs.scores[:, 0].logit())
    ordered = torch.cat(margins).sort(descending=True).values
    last = ordered[min(DETECTIONS_WANTED * len(inputs), len(ordered)) - 1]
    wanted = math.log(threshold / (1 - threshold))
    model.roi_heads.box_predictor.cls_score.bias[0] += wanted - last + 1e-4
