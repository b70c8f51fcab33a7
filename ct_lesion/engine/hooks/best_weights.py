"""Saves the weights of the best evaluation."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase

from ct_lesion.checkpoint import description_value, read_description

BEST = "model_best"
logger = logging.getLogger(__name__)


def best_metric(cfg: CfgNode) -> str:
    """``TEST.BEST_METRIC`` of the first test set, as the event storage names it."""
    several = len(cfg.DATASETS.TEST) > 1
    prefix = f"{cfg.DATASETS.TEST[0]}/" if several else ""
    return f"{prefix}{cfg.TEST.BEST_METRIC}"


class BestWeights(HookBase):
    """Saves the weights of the best evaluation as ``model_best.safetensors``.

    Unlike Detectron2's ``BestCheckpointer`` it does not change ``last_checkpoint``, so that a run
    resumes from its last checkpoint rather than its best one, and a resumed run remembers the best
    value so far.
    """

    def __init__(self, cfg: CfgNode, save: Callable[[str, dict[str, float]], Path]) -> None:
        """
        Args:
            cfg: config of the run. ``TEST.BEST_METRIC`` of the first test set decides; larger is
                better. Without a test set nothing is saved.
            save: writes the weights under a name, with metrics for their description; returns the
                path.
        """
        self._evaluates = len(cfg.DATASETS.TEST) > 0
        self._metric = best_metric(cfg)
        self._period = cfg.TEST.EVAL_PERIOD
        self._path = Path(cfg.OUTPUT_DIR) / f"{BEST}.safetensors"
        self._save = save
        self._best: float | None = None
        self._restored = False

    def state_dict(self) -> dict:
        return {"best": self._best}

    def load_state_dict(self, state: dict) -> None:
        self._best = state["best"]
        self._restored = True

    def before_train(self) -> None:
        # checkpoints of earlier versions do not store the best value
        if self.trainer.start_iter > 0 and not self._restored:
            self._best = self._read_best()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._keep_if_best(done)

    def after_train(self) -> None:
        # a run that failed was not evaluated at its end
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._keep_if_best(self.trainer.max_iter)

    def _keep_if_best(self, iteration: int) -> None:
        if not self._evaluates:
            return
        latest = self.trainer.storage.latest()
        if self._metric not in latest:
            logger.warning(
                f"TEST.BEST_METRIC {self._metric} is not among the metrics of the evaluation, so "
                "the best weights are not saved. Set it to a metric that metrics.json lists."
            )
            return
        value = float(latest[self._metric][0])
        if math.isnan(value) or (self._best is not None and value <= self._best):
            return
        self._best = value
        path = self._save(BEST, {self._metric: value, "iteration": iteration})
        logger.info(f"Best {self._metric} so far, {value:.3f}, saved to {path}")

    def _read_best(self) -> float | None:
        if not self._path.is_file():
            return None
        return (description_value(read_description(self._path), "metrics") or {}).get(self._metric)
