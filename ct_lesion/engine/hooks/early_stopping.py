"""``TEST.PATIENCE``: stops training when the evaluations no longer improve."""

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

    Every process has the hook, because all must stop at the same iteration; the main process
    decides. Evaluations with an undefined (NaN) metric are ignored. A stopped run trains further
    if it is resumed with a larger patience.

    Attributes:
        reason: why the training stopped; empty while it runs.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: config of the run. The metric of its first test set counts; larger is better.
        """
        self.reason = ""
        self._metric = best_metric(cfg)
        self._patience = cfg.TEST.PATIENCE
        self._period = cfg.TEST.EVAL_PERIOD
        self._best: float | None = None
        self._best_at = 0
        self._since_best = 0  # evaluations
        self._last_counted = 0  # iterations done at the last evaluation that was counted

    def state_dict(self) -> dict:
        return {
            "best": self._best,
            "best_at": self._best_at,
            "without": self._since_best,
            "seen": self._last_counted,
        }

    def load_state_dict(self, state: dict) -> None:
        self._best, self._best_at = state["best"], state["best_at"]
        self._since_best, self._last_counted = state["without"], state["seen"]

    def after_step(self) -> None:
        """Count the evaluation of this iteration, if there was one.

        Raises:
            StopTraining: the patience is exhausted.
            ConfigError: ``TEST.BEST_METRIC`` is not among the metrics of the evaluation.
        """
        done = self.trainer.iter + 1
        # at MAX_ITER training ends anyway
        if done % self._period == 0 and done < self.trainer.max_iter:
            self.reason = from_main(lambda: self._count(done))

    def _count(self, done: int) -> str:
        latest = self.trainer.storage.latest()
        if self._metric not in latest:
            known = ", ".join(name for name in latest if "/" in name)
            raise ConfigError(
                f"TEST.PATIENCE needs TEST.BEST_METRIC {self._metric}, which is not among the "
                f"metrics of the evaluation: {known}. Set it to one of these."
            )
        value = float(latest[self._metric][0])
        if math.isnan(value):
            logger.warning(
                f"{self._metric} is undefined (NaN), so TEST.PATIENCE ignores this evaluation."
            )
        elif done > self._last_counted:  # a resumed run repeats the evaluation of its checkpoint
            self._last_counted = done
            if self._best is None or value > self._best:
                self._best, self._best_at, self._since_best = value, done, 0
            else:
                self._since_best += 1
        if self._since_best < self._patience:
            return ""
        return (
            f"{self._metric} has not risen above {self._best:.3f}, reached at iteration "
            f"{self._best_at}, in {self._since_best} evaluations (TEST.PATIENCE {self._patience})"
        )
