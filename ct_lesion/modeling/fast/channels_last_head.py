"""A box head that reads channels-last regions as they lie in memory."""

import torch
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from torch import nn


class ChannelsLastFlatten(nn.Module):
    """``(R, C, H, W)`` to ``(R, H * W * C)``: no copy if the channels are innermost in memory."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(start_dim=1)


@torch.no_grad()
def flatten_channels_last(head: nn.Module, input_channels: int) -> None:
    """Let a box head flatten with the channels last, in place.

    The columns of its first fully connected layer are put in the same order, so it computes the
    same. A head of another class than Detectron2's standard one is left alone.

    Args:
        head: the box head.
        input_channels: of the pooled features.
    """
    if type(head) is not FastRCNNConvFCHead or not head.fcs:
        return
    convs, first = head.conv_norm_relus, head.fcs[0]
    channels = convs[-1].out_channels if convs else input_channels
    weight = first.weight.view(first.out_features, channels, -1)
    # (inputs, outputs) in memory: the product of many rows with few outputs reads it in order,
    # which takes three quarters of the time
    columns = weight.transpose(1, 2).flatten(1).t().contiguous()
    first.weight = nn.Parameter(columns.t(), False)
    head.flatten = ChannelsLastFlatten()
