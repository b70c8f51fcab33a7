"""Hooks for the best weights, the epoch in the progress line and unreadable slices."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage

from ct_lesion.checkpoint import description_value, read_description

BEST = "model_best"
logger = logging.getLogger(__name__)


class BestWeights(HookBase):
    """Saves the weights of the best evaluation as ``model_best.safetensors``.

    Unlike Detectron2's ``BestCheckpointer`` it does not change ``last_checkpoint``, so that a run
    resumes from its last checkpoint rather than its best one, and it keeps the best value over a
    resume.
    """

    def __init__(self, cfg: CfgNode, save: Callable[[str, dict[str, float]], Path]) -> None:
        """
        Args:
            cfg: of the run. ``TEST.BEST_METRIC`` of the first test set decides; larger is better.
                Without a test set nothing is saved.
            save: writes the weights under a name, with metrics that describe them.
        """
        several = len(cfg.DATASETS.TEST) > 1
        prefix = f"{cfg.DATASETS.TEST[0]}/" if several else ""
        self._evaluates = len(cfg.DATASETS.TEST) > 0
        self._metric = f"{prefix}{cfg.TEST.BEST_METRIC}"  # as the event storage names it
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
        # checkpoints of earlier versions do not hold it
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
                "the best weights are not saved."
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


class UnreadableSlices(HookBase):
    """Gathers the slices that any process skipped because they could not be read.

    Attributes:
        found: reason by file name; in the main process of all processes, as last gathered.
    """

    def __init__(self, skipped: Callable[[], dict[str, str]], period: int) -> None:
        """
        Args:
            skipped: returns the reason by file name of the slices skipped in this process so far.
            period: iterations between gatherings, the same as between checkpoints.
        """
        self.found: dict[str, str] = {}
        self._skipped = skipped
        self._period = period

    def state_dict(self) -> dict:
        return {"found": dict(self.found)}

    def load_state_dict(self, state: dict) -> None:
        self.found = dict(state["found"])

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        last = done == self.trainer.max_iter
        if last or (self._period > 0 and done % self._period == 0):
            for skipped in comm.gather(self._skipped()):
                self.found |= skipped

    def after_train(self) -> None:
        self.found |= self._skipped()  # after a failure other processes may not answer
        if self.found and comm.is_main_process():
            logger.warning(
                f"Skipped because they could not be read: {len(self.found)} slice(s), listed as "
                "skipped_slices in training.json."
            )


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
