"""Continues ``metrics.json`` and TensorBoard's events when a killed run is resumed.

A resumed run repeats the iterations after its checkpoint, so the files are cut at the checkpoint.
The checkpoint also stores the writers' smoothing windows. Each iteration is then in the files once,
with the values of an uninterrupted run.
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
# metrics of Detectron2's IterationTimer, whose state is not restored
_CLOCK = ("time", "eta_seconds")
logger = logging.getLogger(__name__)


def cut_metrics(path: str | Path, iteration: int) -> int:
    """Remove the lines of ``iteration`` and later, and an incomplete last line.

    Args:
        path: a ``metrics.json``, which may be missing.
        iteration: the first iteration that the run writes again.

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
    """Detectron2's ``PeriodicWriter``, but the writers open their files when training starts.

    The start iteration is known only then, and a run that fails earlier does not touch the files.
    """

    def __init__(self, build: Callable[[], list[EventWriter]], folder: str | Path) -> None:
        """
        Args:
            build: returns the writers.
            folder: folder of the run.
        """
        super().__init__([], WINDOW)
        self._build = build
        self._path = Path(folder) / METRICS_FILE

    def before_train(self) -> None:
        # the checkpoint's own iteration is repeated too, see LesionTrainer.before_train
        removed = cut_metrics(self._path, max(self.trainer.start_iter - 1, 0))
        if removed and self.trainer.start_iter == 0:
            logger.warning(f"Removed {removed} lines of an earlier run from {self._path}.")
        self._writers = self._build()


class SmoothingWindow(HookBase):
    """Saves the last ``WINDOW`` values of each metric in the checkpoint, and restores them."""

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
