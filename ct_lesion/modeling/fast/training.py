"""Faster training on a CPU: swaps modules for faster equivalents; weights are untouched.

Only the order of floating-point sums changes, so results agree up to rounding.
"""

import torch
from detectron2.config import CfgNode
from torch import nn

from ..roi_heads import LesionROIHeads
from .inference import fast_path
from .roi_align import numba_is_installed, replace_roi_align


def use_fast_training(model: nn.Module, cfg: CfgNode) -> bool:
    """Prepare a built model for faster training on a CPU, in place, by ``MODEL.FAST_PATH``.

    Parameters keep their names, values and memory layout, so checkpoints and optimiser states fit
    both paths.

    Returns:
        False, without a change, with "off", on a GPU, or without Numba.

    Raises:
        ConfigError: ``MODEL.FAST_PATH`` has an unknown value.
    """
    if fast_path(cfg) == "off" or cfg.MODEL.DEVICE != "cpu" or not numba_is_installed():
        return False
    replace_roi_align(model)
    # Feature maps take over the input's layout. The weights keep theirs: a fused Adam step reads
    # weights and state in memory order, and the state may come from a checkpoint.
    model.backbone.register_forward_pre_hook(_channels_last)
    if isinstance(model.roi_heads, LesionROIHeads):
        model.roi_heads.share_masks = True
    return True


def _channels_last(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].contiguous(memory_format=torch.channels_last),)
