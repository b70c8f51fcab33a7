"""Gathers the slices that a training skipped."""

import logging
from collections.abc import Callable

from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class UnreadableSlices(HookBase):
    """Gathers the slices that any process skipped because they cannot be read.

    Attributes:
        found: reason by file name; complete only in the main process, up to the last gathering.
    """

    def __init__(self, skipped: Callable[[], dict[str, str]], period: int) -> None:
        """
        Args:
            skipped: returns the reason by file name of the slices skipped in this process so far.
            period: iterations between gatherings; that of the checkpoints, which store ``found``.
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
        self.found |= self._skipped()  # no gathering: after a failure other processes may be gone
        if self.found and comm.is_main_process():
            logger.warning(
                f"Skipped {len(self.found)} slice(s) that cannot be read, listed as "
                "skipped_slices in training.json."
            )
