"""Faster layers around convolutions: folded BatchNorm, the stem, the box head's flattening."""

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicStem
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

_NORMS = (_BatchNorm, FrozenBatchNorm2d)


@torch.no_grad()
def fold_batchnorm(model: nn.Module) -> None:
    """Fold the BatchNorm of each Detectron2 convolution into the convolution's weights, in place.

    Detectron2's convolutions hold their norm as ``norm``. In test mode BatchNorm only scales and
    shifts each channel, so the outputs stay the same up to rounding. Other norms are not changed.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d) and isinstance(getattr(layer, "norm", None), _NORMS):
            _fold(layer)


def _fold(conv: nn.Conv2d) -> None:
    norm = conv.norm
    # double precision, so that the only difference left is the rounding of the folded weights
    tensors = (conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    w, b, mean, var, scale, shift = (t if t is None else t.double() for t in tensors)
    weight, bias = fuse_conv_bn_weights(w, b, mean, var, norm.eps, scale, shift)
    conv.weight, conv.bias = (
        nn.Parameter(t.to(conv.weight), requires_grad=False) for t in (weight, bias)
    )
    conv.norm = None


class PoolBeforeReLU(nn.Module):
    """Detectron2's ``BasicStem`` with the ReLU after the max pooling, on a quarter of the pixels.

    The maximum of ReLUs equals the ReLU of the maximum.
    """

    def __init__(self, stem: BasicStem) -> None:
        super().__init__()
        self.conv1 = stem.conv1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)
        return F.relu_(pooled)


def pool_before_relu(model: nn.Module) -> None:
    """Replace each ``BasicStem`` of a model with :class:`PoolBeforeReLU`, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is BasicStem:
                setattr(parent, name, PoolBeforeReLU(child))


class ChannelsLastFlatten(nn.Module):
    """``(R, C, H, W)`` to ``(R, H * W * C)``, without a copy if the memory is channels-last."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(start_dim=1)


@torch.no_grad()
def flatten_channels_last(head: nn.Module, input_channels: int) -> None:
    """Make a box head flatten its input channels-last, in place; the outputs stay the same.

    The columns of the first fully connected layer are reordered to match. Only Detectron2's
    ``FastRCNNConvFCHead`` is changed.

    Args:
        head: the box head.
        input_channels: channels of the pooled features.
    """
    if type(head) is not FastRCNNConvFCHead or not head.fcs:
        return
    convs, first = head.conv_norm_relus, head.fcs[0]
    channels = convs[-1].out_channels if convs else input_channels
    weight = first.weight.view(first.out_features, channels, -1)
    # The memory layout is (inputs, outputs): a product of many rows with few outputs then reads the
    # weights in order and takes three quarters of the time.
    columns = weight.transpose(1, 2).flatten(1).t().contiguous()
    first.weight = nn.Parameter(columns.t(), False)
    head.flatten = ChannelsLastFlatten()
