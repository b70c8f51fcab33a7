"""Fast inference: a copy of a model whose parts are replaced by faster equivalents.

``MODEL.FAST_PATH`` chooses between Detectron2's modules and the fast ones. The parts are in
``convolutions.py``, ``rpn.py``, ``nms.py`` and ``roi_align.py``. On a CPU the slices of a batch run
in parallel, one per core (``parallel_slices.py``). On a GPU, half precision is available.
"""

import copy
import logging
from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from torch import nn

from ct_lesion.config_values import check_choice

from ..meta_arch import COVIDCTMaskNet
from .convolutions import flatten_channels_last, fold_batchnorm, pool_before_relu
from .nms import fast_batched_nms
from .parallel_slices import ParallelSlices
from .roi_align import use_inference_poolers
from .rpn import FastRPN

logger = logging.getLogger(__name__)


def fast_path(cfg: CfgNode) -> str:
    """The value of ``MODEL.FAST_PATH``: "auto", "half" or "off".

    Raises:
        ConfigError: any other value.
    """
    check_choice("MODEL.FAST_PATH", cfg.MODEL.FAST_PATH)
    return cfg.MODEL.FAST_PATH


def fast_inference(
    model: nn.Module,
    cfg: CfgNode,
    around: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> nn.Module:
    """Build the fast equivalent of a model, for evaluation or prediction, by ``MODEL.FAST_PATH``.

    It copies the model's current weights: call the function again after a training step.

    Args:
        model: as built and loaded, without a wrapper for distributed training. It is not changed.
        cfg: the model's config.
        around: wraps the fast model, e.g. in test-time augmentation. It is called with a model of
            the class of ``model``, before the slices of a batch are spread over cores.

    Returns:
        A module in test mode with the inputs and outputs of the model. Logits agree within 1e-4
        and boxes within 1e-2 px, except with "half". Regions whose scores differ by less than 1e-5
        may be in another order, since rounding decides it, and a classifier's logits depend on the
        order. On a CPU each slice of a batch is padded on its own, not to the size of the largest.
        With "off", or if the model is neither a ``GeneralizedRCNN`` nor a ``COVIDCTMaskNet``: the
        model itself, wrapped by ``around``.

    Raises:
        ConfigError: ``MODEL.FAST_PATH`` has an unknown value.
    """
    choice = fast_path(cfg)
    if choice == "off":
        return around(model)
    if type(model) not in (GeneralizedRCNN, COVIDCTMaskNet):
        logger.info("No fast path for %s: the model is used unchanged.", type(model).__name__)
        return around(model)
    fast = _frozen_copy(model)
    _replace_parts(fast)
    fast = around(fast)
    if next(fast.parameters()).is_cuda:
        return HalfPrecision(fast) if choice == "half" else fast
    return ParallelSlices(fast, torch.get_num_threads())


def _frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in test mode whose parameters require no gradient."""
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
    # flattening channels-last only pays if the pooler's output is channels-last
    if use_inference_poolers(fast) and isinstance(heads, StandardROIHeads):
        shapes = fast.backbone.output_shape()
        flatten_channels_last(heads.box_head, shapes[heads.box_in_features[0]].channels)


class HalfPrecision(nn.Module):
    """Runs a model under autocast: convolutions and matrix products in half precision.

    RoIAlign keeps single precision. Detectron2's RoIAlign casts boxes to the features' precision,
    and at 512 px half precision resolves box borders only to half a pixel.
    """

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: model in test mode; hooks are added to its poolers.
        """
        super().__init__()
        self.model = model
        self.device_type = next(model.parameters()).device.type
        for pooler in (m for m in model.modules() if isinstance(m, ROIPooler)):
            pooler.register_forward_pre_hook(_single_precision)
        self.eval()

    def forward(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """The model's outputs."""
        with torch.autocast(self.device_type, dtype=torch.float16):
            return self.model(batched_inputs)


def _single_precision(_: nn.Module, inputs: tuple) -> tuple:
    features, boxes = inputs
    return [level.float() for level in features], boxes
