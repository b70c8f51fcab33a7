"""The published network's parameters in Detectron2's names.

The published network is torchvision's Mask R-CNN (names as torchvision 0.3 wrote them) and module
S. Detectron2's has the same layers, with three differences: the background is the last class
instead of the first, and neither the box regressor nor the mask predictor has outputs for it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .resnet_names import from_torchvision

BOX_CODES = 4  # dx, dy, dw, dh

_RULES = (
    (r"rpn\.head\.conv\.", "proposal_generator.rpn_head.conv."),
    (r"rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.box_head\.fc6\.", "roi_heads.box_head.fc1."),
    (r"roi_heads\.box_head\.fc7\.", "roi_heads.box_head.fc2."),
    (r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.", r"roi_heads.box_predictor.\1."),
    (r"roi_heads\.mask_head\.(mask_fcn\d)\.", r"roi_heads.mask_head.\1."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
    (r"s2new\.fc_scores\.", "classifier.fc1."),
    (r"s2new\.fc_scores_2\.", "classifier.fc2."),
    (r"s2new\.fc_scores_img\.", "classifier.logits."),
)


def rename_released(
    weights: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A published state dict in Detectron2's names and order of classes.

    Returns:
        The state dict, and the published names that have no place in it.
    """
    levels = _fpn_levels(weights)
    model, unused = {}, []
    for name, tensor in weights.items():
        renamed = _new_name(name, levels)
        if renamed:
            model[renamed] = _without_background(renamed, tensor)
        else:
            unused.append(name)
    return model, unused


def _new_name(name: str, levels: Sequence[int]) -> str | None:
    if name.startswith("backbone.body."):
        return f"backbone.bottom_up.{from_torchvision(name.removeprefix('backbone.body.'))}"
    if match := re.fullmatch(r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(weight|bias)", name):
        kind = "lateral" if match[1] == "inner" else "output"
        index = int(match[2])
        return f"backbone.fpn_{kind}{levels[index]}.{match[3]}" if index < len(levels) else None
    for pattern, replacement in _RULES:
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    return None


def _fpn_levels(names: Mapping[str, Any]) -> list[int]:
    """Stage of each FPN level, finest first: the last ones that the ResNet has."""
    layers = {int(m[1]) for n in names if (m := re.match(r"backbone\.body\.layer(\d)\.", n))}
    stages = [layer + 1 for layer in sorted(layers)]
    count = sum(bool(re.fullmatch(r"backbone\.fpn\.inner_blocks\.\d\.weight", n)) for n in names)
    return stages[len(stages) - count :] if 0 < count <= len(stages) else []


def _without_background(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Outputs of the classes in Detectron2's order; ``tensor`` has the background first."""
    if tensor.dim() == 0:  # no such layer; its shape is reported later
        return tensor
    if name.startswith("roi_heads.box_predictor.cls_score."):
        return tensor.roll(-1, dims=0)
    if name.startswith("roi_heads.box_predictor.bbox_pred."):
        return tensor[BOX_CODES:].clone()
    if name.startswith("roi_heads.mask_head.predictor."):
        return tensor[1:].clone()
    return tensor
