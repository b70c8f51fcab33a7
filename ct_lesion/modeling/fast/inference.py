"""A model for inference only: the same calls, the same numbers, less time.

Nothing is written twice: a copy of the model is made, whose class does what it always does, and
parts of the copy give way to others that compute the same. Each part is a file:

* ``folded_batchnorm.py``: BatchNorm as part of the convolutions, and those channels-last;
* ``fast_stem.py``: ReLU after the max pooling, on a quarter of the pixels;
* ``fast_rpn.py``: boxes only of the anchors that are kept;
* ``fast_nms.py``: NMS by a compiled loop, if numba is installed;
* ``inference_pooler.py``: RoIAlign by a compiled loop, if numba is installed;
* ``channels_last_head.py``: the box head reads what that writes without turning it round;
* ``half_precision.py``: on a GPU, if asked for.

On a CPU the slices of a batch pass side by side, a core each: ``parallel_slices.py``.
"""

import copy
import logging

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.proposal_generator import RPN
from torch import nn

from ..meta_arch import COVIDCTMaskNet
from .channels_last_head import flatten_channels_last
from .convolutions import fold_batchnorm
from .fast_path import fast_path
from .fast_stem import pool_before_relu
from .half_precision import HalfPrecision
from .inference_pooler import use_inference_poolers
from .nms import fast_batched_nms
from .parallel_slices import ParallelSlices
from .rpn import FastRPN

logger = logging.getLogger(__name__)


def fast_inference(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """What to evaluate or predict with in place of a model, by ``MODEL.FAST_PATH``.

    It is made of the weights as they are now: after a training step, ask for it again.

    Args:
        model: as built and loaded, without a wrapper for distributed training. It is not changed.
        cfg: its config.

    Returns:
        A module in test mode that is called as the model is, and returns the same: logits within
        1e-4, boxes within 1e-2 px ("half" is as exact as half precision is). On a CPU the slices of
        a batch pass one by one, so that none is padded to the size of another. The model itself
        with "off", or if it is of another kind than ct_lesion's configs build.

    Raises:
        ConfigError: ``MODEL.FAST_PATH`` is none of the choices.
    """
    choice = fast_path(cfg)
    if choice == "off":
        return model
    if type(model) not in (GeneralizedRCNN, COVIDCTMaskNet):
        logger.info("There is no fast path for a %s: it is used as it is.", type(model).__name__)
        return model
    fast = _copy_for_inference(model)
    _replace_parts(fast)
    if next(fast.parameters()).is_cuda:
        return HalfPrecision(fast) if choice == "half" else fast
    return ParallelSlices(fast, torch.get_num_threads())


def _copy_for_inference(model: nn.Module) -> nn.Module:
    """A copy in test mode, none of whose parameters learns."""
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    for parameter in fast.parameters():
        parameter.grad = None
    return fast


def _replace_parts(fast: nn.Module) -> None:
    fold_batchnorm(fast)
    fast.to(memory_format=torch.channels_last)
    pool_before_relu(fast)
    if type(fast.proposal_generator) is RPN:
        fast.proposal_generator = FastRPN(fast.proposal_generator)
    if isinstance(fast, COVIDCTMaskNet):
        fast.roi_batch.nms = fast_batched_nms
    heads = fast.roi_heads
    # only where the pooler leaves the channels innermost is it less work for the box head
    if use_inference_poolers(fast) and isinstance(heads, StandardROIHeads):
        flatten_channels_last(heads.box_head, _pooled_channels(fast))


def _pooled_channels(model: nn.Module) -> int:
    shapes = model.backbone.output_shape()
    return shapes[model.roi_heads.box_in_features[0]].channels
