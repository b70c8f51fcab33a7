"""The same training on a CPU, sooner: a built model's parts are set up, never its weights.

What changes is the order of floating-point sums, so results agree as far as rounding goes.
"""

import torch
from detectron2.config import CfgNode
from torch import nn

from ..roi_heads import LesionROIHeads
from .fast_path import fast_path
from .roi_align import numba_is_installed, replace_roi_align


def use_fast_training(model: nn.Module, cfg: CfgNode) -> bool:
    """Set a built model up to train faster on a CPU, as ``MODEL.FAST_PATH`` says (in place).

    Parameters keep their names, values and memory layout, so checkpoints and optimiser states go
    from one path to the other.

    Returns:
        Whether it was done.

    Raises:
        ConfigError: ``MODEL.FAST_PATH`` is none of its choices.
    """
    if fast_path(cfg) == "off" or cfg.MODEL.DEVICE != "cpu" or not numba_is_installed():
        return False
    replace_roi_align(model)
    # The maps take the layout of the input. Weights stay as they are: a fused Adam step reads them
    # and its state, which may come from a checkpoint, in the order of memory.
    model.backbone.register_forward_pre_hook(_channels_last)
    if isinstance(model.roi_heads, LesionROIHeads):
        model.roi_heads.share_masks = True
    return True


def _channels_last(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (inputs[0].contiguous(memory_format=torch.channels_last),)
