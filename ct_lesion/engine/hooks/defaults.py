"""Detectron2's default hooks, and its progress line with the epoch."""

import logging
from collections.abc import Callable

from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine.hooks import (
    EvalHook,
    IterationTimer,
    LRScheduler,
    PeriodicCheckpointer,
    PreciseBN,
)
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage
from fvcore.nn.precise_bn import get_bn_modules


def default_hooks(trainer: DefaultTrainer, evaluate: Callable[[], dict]) -> list[HookBase | None]:
    """The hooks of Detectron2's ``DefaultTrainer``, without its writers."""
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.DATALOADER.NUM_WORKERS = 0  # PreciseBN needs few slices
    precise_bn = None
    if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(trainer.model):
        loader, batches = trainer.build_train_loader(cfg), cfg.TEST.PRECISE_BN.NUM_ITER
        precise_bn = PreciseBN(cfg.TEST.EVAL_PERIOD, trainer.model, loader, batches)
    return [
        IterationTimer(),
        LRScheduler(),
        precise_bn,
        PeriodicCheckpointer(trainer.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD)
        if comm.is_main_process()
        else None,
        EvalHook(cfg.TEST.EVAL_PERIOD, evaluate),
    ]


class EpochMetricPrinter(CommonMetricPrinter):
    """Detectron2's progress line, with the epoch in front."""

    def __init__(self, max_iter: int, iterations_per_epoch: float) -> None:
        super().__init__(max_iter)
        self.logger = _EpochLogger(self.logger, {})
        self.logger.per_epoch = iterations_per_epoch
        self.logger.epochs = max_iter / iterations_per_epoch


class _EpochLogger(logging.LoggerAdapter):
    per_epoch: float
    epochs: float

    def process(self, msg: str, kwargs: dict) -> tuple[str, dict]:
        epoch = (get_event_storage().iter + 1) / self.per_epoch
        return f" epoch: {epoch:.2f}/{self.epochs:.4g} {msg}", kwargs
