"""A model for inference only: the same calls, the same numbers, less time."""

import copy

import torch
from detectron2.config import CfgNode
from torch import nn

from .folded_batchnorm import fold_batchnorm


def fast_inference(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """A copy of a model for inference, built from its weights as they are now.

    Args:
        model: a ``GeneralizedRCNN`` or ``COVIDCTMaskNet``; it is left as it is.
        cfg: its config.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    fold_batchnorm(fast)
    return fast.to(memory_format=torch.channels_last)
