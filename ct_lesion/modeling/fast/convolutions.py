"""BatchNorm layers with fixed statistics made part of the convolutions before them."""

import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_NORMS = (_BatchNorm, FrozenBatchNorm2d)


@torch.no_grad()
def fold_batchnorm(module: nn.Module) -> nn.Module:
    """Fold each BatchNorm inside a Detectron2 convolution into its weights, in place.

    Detectron2's convolutions hold their norm as ``norm``. A norm in test mode is a scale and a
    shift of each channel, so the numbers stay the same up to rounding. Other norms are left alone.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and isinstance(getattr(layer, "norm", None), _NORMS):
            _fold(layer)
    return module


def _fold(conv: nn.Conv2d) -> None:
    norm = conv.norm
    # in double precision: the rounding of the folded weights is all that is left of the difference
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.double()
    if conv.bias is not None:
        shift = shift + conv.bias.double() * scale
    weight = conv.weight.double() * scale.view(-1, 1, 1, 1)
    conv.weight = nn.Parameter(weight.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(conv.weight), requires_grad=False)
    conv.norm = None
