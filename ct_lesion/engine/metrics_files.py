"""``metrics.json`` and TensorBoard's events over a run that is killed and resumed.

A resumed run goes back to its checkpoint and writes again what came after it. So these files are
cut there, and the windows over which they smooth come back from the checkpoint: in the end they
hold each iteration once, as if nothing had happened.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.engine.hooks import PeriodicWriter
from detectron2.utils.events import EventWriter

from ct_lesion.files import write_together

METRICS_FILE = "metrics.json"
WINDOW = 20  # iterations over which Detectron2's writers smooth
# a process measures these from its fourth step on
_CLOCK = ("time", "eta_seconds")
logger = logging.getLogger(__name__)


def cut_metrics(path: str | Path, iteration: int) -> int:
    """Remove the lines of ``iteration`` and later, and a last one that was not written whole.

    Args:
        path: a ``metrics.json``; nothing happens if there is none.
        iteration: from which on the run writes again.

    Returns:
        Number of lines removed.
    """
    path = Path(path)
    if not path.is_file():
        return 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    kept = [line for line in lines if _iteration(line) < iteration]
    if len(kept) < len(lines):
        write_together({path: "".join(f"{line}\n" for line in kept)})
    return len(lines) - len(kept)


def _iteration(line: str) -> float:
    try:
        return int(json.loads(line)["iteration"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


class ResumableWriter(PeriodicWriter):
    """Detectron2's hook, with writers that open their files when training starts.

    By then it is known from which iteration on they write, and a run that could not start has left
    its folder alone.
    """

    def __init__(
        self, build: Callable[[], list[EventWriter]], folder: str | Path, period: int = WINDOW
    ) -> None:
        """
        Args:
            build: makes the writers.
            folder: of the run.
            period: iterations between two writings.
        """
        super().__init__([], period)
        self._build = build
        self._path = Path(folder) / METRICS_FILE

    def before_train(self) -> None:
        # the checkpoint's own iteration is written again too: see LesionTrainer.before_train
        removed = cut_metrics(self._path, max(self.trainer.start_iter - 1, 0))
        if removed and self.trainer.start_iter == 0:
            logger.warning(f"{self._path} held {removed} lines of an earlier run; they are gone.")
        self._writers = self._build()


class SmoothingWindow(HookBase):
    """Keeps the last values of what each iteration writes in the checkpoint."""

    def __init__(self) -> None:
        self._values: dict[str, list] = {}
        self._smoothed: dict[str, bool] = {}

    def state_dict(self) -> dict:
        storage = getattr(self.trainer, "storage", None)
        if storage is None:  # not in training
            return {}
        latest = storage.latest()
        current = [name for name, (_, when) in latest.items() if when == self.trainer.iter]
        names = [name for name in current if name not in _CLOCK]
        histories = storage.histories()
        return {
            "values": {
                name: [[float(v), int(when)] for v, when in histories[name].values()[-WINDOW:]]
                for name in names
            },
            "smoothed": {name: bool(storage.smoothing_hints()[name]) for name in names},
        }

    def load_state_dict(self, state: dict) -> None:
        self._values, self._smoothed = state["values"], state["smoothed"]

    def before_train(self) -> None:
        storage = self.trainer.storage
        for name, values in self._values.items():
            for value, when in values:
                storage.put_scalar(
                    name, value, smoothing_hint=self._smoothed[name], cur_iter=int(when)
                )
