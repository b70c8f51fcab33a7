"""Checkpoints in the published format, made of random weights, for the tests."""

import functools
import sys
import types
from pathlib import Path

import torch
from torch import nn
from torchvision import models

LAST_LAYERS = {"res5": 4, "res4": 3, "res3": 2}
SIZES = ((2, 4, 8, 16, 32),) * 5
RATIOS = ((0.1, 0.25, 0.5, 1, 1.5, 2),) * 5


@functools.cache
def random_resnet(depth: int) -> nn.Module:
    """torchvision's ResNet in eval mode, with BatchNorm statistics that change the output.

    The module is cached: do not change it.
    """
    torch.manual_seed(depth)
    resnet = getattr(models, f"resnet{depth}")(weights=None)
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
            nn.init.uniform_(module.weight, 0.3, 0.6)
            nn.init.normal_(module.bias, std=0.1)
    return resnet.eval()


def released_weights(
    depth: int = 18,
    last_stage: str = "res3",
    num_classes: int = 1,
    kind: str = "segmentation",
    num_rois: int = 128,
    width: int = 512,
) -> dict[str, torch.Tensor]:
    """A random state dict in the published names; background is the first class."""
    keep = ("conv1", "bn1", *(f"layer{i}" for i in range(1, LAST_LAYERS[last_stage] + 1)))
    body = {
        f"backbone.body.{name}": tensor
        for name, tensor in random_resnet(depth).state_dict().items()
        if name.split(".")[0] in keep
    }
    layers: dict[str, nn.Module] = {}
    scale = 4 if depth == 50 else 1
    channels = [64 * scale * 2**i for i in range(LAST_LAYERS[last_stage])]
    for i, c in enumerate(channels if depth == 50 else channels[-1:]):
        layers[f"backbone.fpn.inner_blocks.{i}"] = nn.Conv2d(c, 256, 1)
        layers[f"backbone.fpn.layer_blocks.{i}"] = nn.Conv2d(256, 256, 3)
    layers["rpn.head.conv"] = nn.Conv2d(256, 256, 3)
    layers["rpn.head.cls_logits"] = nn.Conv2d(256, 30, 1)
    layers["rpn.head.bbox_pred"] = nn.Conv2d(256, 120, 1)
    layers["roi_heads.box_head.fc6"] = nn.Linear(256 * 49, 128)
    layers["roi_heads.box_head.fc7"] = nn.Linear(128, 128)
    layers["roi_heads.box_predictor.cls_score"] = nn.Linear(128, num_classes + 1)
    layers["roi_heads.box_predictor.bbox_pred"] = nn.Linear(128, 4 * (num_classes + 1))
    if kind == "segmentation":
        layers |= _mask_head(depth, num_classes)
    else:
        layers["s2new.fc_scores"] = nn.Linear(num_rois * 5, width)
        layers["s2new.fc_scores_2"] = nn.Linear(width, width)
        layers["s2new.fc_scores_img"] = nn.Linear(width, 3)
    heads = {f"{n}.{p}": t for n, layer in layers.items() for p, t in layer.state_dict().items()}
    return body | heads


def _mask_head(depth: int, num_classes: int) -> dict[str, nn.Module]:
    convs, dim = (4, 256) if depth == 50 else (1, 128)
    head: dict[str, nn.Module] = {
        f"roi_heads.mask_head.mask_fcn{i + 1}": nn.Conv2d(256 if i == 0 else dim, dim, 3)
        for i in range(convs)
    }
    head["roi_heads.mask_predictor.conv5_mask"] = nn.ConvTranspose2d(dim, dim, 2, 2)
    head["roi_heads.mask_predictor.mask_fcn_logits"] = nn.Conv2d(dim, num_classes + 1, 1)
    return head


def write_released(
    path: Path,
    weights: dict[str, torch.Tensor],
    *,
    legacy: bool = False,
    inside_anchors: object = None,
    **changes: object,
) -> Path:
    """Save weights as the published implementation does.

    The anchor generator's class cannot be imported when the file is read.

    Args:
        path: file to write.
        weights: see :func:`released_weights`.
        legacy: use PyTorch's format from before version 1.6.
        inside_anchors: hidden among the attributes of the anchor generator.
        changes: entries that replace or are added to the published ones.
    """
    module = types.ModuleType("published_rpn")
    anchor_class = type("AnchorGenerator", (nn.Module,), {"__module__": module.__name__})
    module.AnchorGenerator = anchor_class
    anchors = anchor_class()
    anchors.sizes, anchors.aspect_ratios = SIZES, RATIOS
    anchors.cell_anchors = [torch.ones(2, 4)]
    anchors._cache = {(torch.Size([8, 8]), (8, 8)): [torch.zeros(3, 4)]}
    anchors.extra = inside_anchors
    content = {
        "epoch": "3",
        "model_name": "lightweight",
        "model_weights": weights,
        "optimizer_state": {"state": {0: {"step": 1, "exp_avg": torch.ones(3)}}},
        "lrate": 1e-5,
        "anchor_generator": anchors,
    }
    sys.modules[module.__name__] = module
    try:
        torch.save(content | changes, path, _use_new_zipfile_serialization=not legacy)
    finally:
        del sys.modules[module.__name__]
    return path
