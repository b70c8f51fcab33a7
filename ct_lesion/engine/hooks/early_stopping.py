"""``TEST.PATIENCE``: ends a training whose evaluations do not improve any more."""

import logging
import math

from detectron2.config import CfgNode
from detectron2.engine import HookBase

from ct_lesion.engine.across_processes import from_main
from ct_lesion.errors import ConfigError

from .best_weights import best_metric

logger = logging.getLogger(__name__)


class StopTraining(BaseException):
    """Ends the training loop; not an error, so that Detectron2's loop does not log it as one."""


class EarlyStopping(HookBase):
    """Stops after ``TEST.PATIENCE`` evaluations in a row without a new best ``TEST.BEST_METRIC``.

    Every process has it, because all must stop at the same iteration; the main one decides. An
    undefined (NaN) metric does not count. A stopped run that is resumed with a larger patience
    goes on.

    Attributes:
        reason: why the training stopped; empty while it runs.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: of the run. The metric of its first test set counts; larger is better.
        """
        self.reason = ""
        self._metric = best_metric(cfg)
        self._patience = cfg.TEST.PATIENCE
        self._period = cfg.TEST.EVAL_PERIOD
        self._best: float | None = None
        self._best_at = 0
        self._without = 0  # evaluations since the best one
        self._seen = 0  # iterations done at the last evaluation that was counted

    def state_dict(self) -> dict:
        return {
            "best": self._best,
            "best_at": self._best_at,
            "without": self._without,
            "seen": self._seen,
        }

    def load_state_dict(self, state: dict) -> None:
        self._best, self._best_at = state["best"], state["best_at"]
        self._without, self._seen = state["without"], state["seen"]

    def after_step(self) -> None:
        """Count the evaluation of this iteration, if there was one.

        Raises:
            StopTraining: the patience is at its end.
            ConfigError: ``TEST.BEST_METRIC`` is not among the metrics of the evaluation.
        """
        done = self.trainer.iter + 1
        # the last evaluation follows the training, where nothing is left to stop
        if done % self._period == 0 and done < self.trainer.max_iter:
            self.reason = from_main(lambda: self._count(done))

    def _count(self, done: int) -> str:
        latest = self.trainer.storage.latest()
        if self._metric not in latest:
            known = ", ".join(name for name in latest if "/" in name)
            raise ConfigError(
                f"TEST.PATIENCE needs TEST.BEST_METRIC {self._metric}, which is not among the "
                f"metrics of the evaluation: {known}."
            )
        value = float(latest[self._metric][0])
        if math.isnan(value):
            logger.warning(
                f"{self._metric} is undefined, so that this evaluation does not count for "
                "TEST.PATIENCE."
            )
        elif done > self._seen:  # a resumed run repeats the evaluation of its checkpoint
            self._seen = done
            if self._best is None or value > self._best:
                self._best, self._best_at, self._without = value, done, 0
            else:
                self._without += 1
        if self._without < self._patience:
            return ""
        return (
            f"{self._metric} has not risen above {self._best:.3f}, reached at iteration "
            f"{self._best_at}, in {self._without} evaluations (TEST.PATIENCE {self._patience})"
        )
