"""Hooks that Detectron2's trainer lacks: best weights without side effects, epochs, and the count
of slices that could not be read."""

import logging
import math
from collections.abc import Callable
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, get_event_storage


class BestWeights(HookBase):
    """Keeps the weights of the best evaluation as ``model_best.safetensors``.

    Unlike Detectron2's ``BestCheckpointer`` it writes no checkpoint to resume from, so that a
    resumed run goes on from the last one and not from the best one, and it remembers the best value
    of the run it resumes.
    """

    FILE = "model_best"

    def __init__(
        self,
        period: int,
        metric: str,
        save: Callable[[str, dict[str, float]], Path],
        read_best: Callable[[str], float | None],
    ) -> None:
        """
        Args:
            period: iterations between evaluations, as given to ``EvalHook``.
            metric: name of the metric in the event storage, e.g. "segm/AP"; larger is better.
            save: writes the weights under a name, with metrics that describe them.
            read_best: the metric's value in the weights saved earlier under a name, if any.
        """
        self._period = period
        self._metric = metric
        self._save = save
        self._read_best = read_best
        self._best: float | None = None
        self._restored = False
        self._log = logging.getLogger(__name__)

    def state_dict(self) -> dict:
        return {"best": self._best}

    def load_state_dict(self, state: dict) -> None:
        self._best = state["best"]
        self._restored = True

    def before_train(self) -> None:
        if self.trainer.start_iter > 0 and not self._restored:  # a checkpoint of an earlier version
            self._best = self._read_best(self.FILE)

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._keep_if_best(done)

    def after_train(self) -> None:
        # as EvalHook: a run that failed was not evaluated at its end
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._keep_if_best(self.trainer.max_iter)

    def _keep_if_best(self, iteration: int) -> None:
        latest = self.trainer.storage.latest()
        if self._metric not in latest:
            self._log.warning(
                f"TEST.BEST_METRIC {self._metric} is not among the metrics that were computed; "
                "the best weights are not kept."
            )
            return
        value = float(latest[self._metric][0])
        if math.isnan(value) or (self._best is not None and value <= self._best):
            return
        self._best = value
        path = self._save(self.FILE, {self._metric: value, "iteration": iteration})
        self._log.info(f"Best {self._metric} so far, {value:.3f}, saved to {path}")


class UnreadableSlices(HookBase):
    """Gathers from all processes which slices were skipped because they could not be read.

    Attributes:
        found: file name and reason; in the main process those of all, up to the last gathering.
    """

    def __init__(self, skipped: Callable[[], dict[str, str]], period: int) -> None:
        """
        Args:
            skipped: those of this process up to now.
            period: iterations between gatherings, that of the checkpoints.
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
        self.found |= self._skipped()  # a run that failed has no time to ask the others
        if self.found and comm.is_main_process():
            logging.getLogger(__name__).warning(
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
