"""Models to measure: trained weights where there are some, else random ones in a stated way."""

import math
from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from ct_lesion.checkpoint import LesionCheckpointer
from ct_lesion.config import load_config
from ct_lesion.modeling.roi_batch import box_outputs

from .row import Settings

DETECTIONS_WANTED = 12
"""Regions a slice that pass the score threshold with random weights, before NMS."""


def config_of(name: str, *overrides: object) -> CfgNode:
    """A shipped config for the CPU or, in ``overrides``, another device."""
    return load_config(name, ["MODEL.DEVICE", "cpu", *overrides])


def random_model(cfg: CfgNode) -> nn.Module:
    """The model in test mode with seeded random weights.

    RPN and box head start with weights so small that all regions are alike; they are made larger,
    so that regions differ in score and place as those of a trained model do.
    """
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("objectness_logits.weight", "cls_score.weight")):
                parameter.mul_(30)
    return model


def load_weights(model: nn.Module, cfg: CfgNode, settings: Settings) -> str:
    """Load the user's weights, if there are some. Returns what to say about the weights."""
    if settings.weights is None:
        return "random, seed 0"
    LesionCheckpointer(model, cfg=cfg).load(str(settings.weights))
    return settings.weights.name


@torch.no_grad()
def shift_scores(model: nn.Module, inputs: Sequence[dict], threshold: float) -> None:
    """Give a random segmenter as many detections as a trained one, by its box head's bias.

    The bias of the lesion class is set so that ``DETECTIONS_WANTED`` regions a slice, on average,
    score above the threshold.
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
