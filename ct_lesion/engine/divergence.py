"""Stops training on NaN or Inf in losses or weights, and logs fatal errors in one line."""

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm

from ct_lesion.errors import UserError, is_storage_error, reason
from ct_lesion.files import write_together

DIVERGED_FILE = "diverged.json"
_DETECTRON2_LOOP = "detectron2.engine.train_loop"


class TrainingDivergedError(UserError):
    """The loss or a weight became NaN or infinite."""


class DivergenceGuard:
    """Checks the losses of each step, and the weights before a checkpoint is written."""

    def __init__(self, model: torch.nn.Module, folder: str | Path, period: int) -> None:
        """
        Args:
            model: returns a dict of losses in training; may be wrapped for distributed training.
            folder: folder of the run; ``diverged.json`` is written there.
            period: iterations between checkpoints.
        """
        rank = comm.get_rank()
        name = DIVERGED_FILE if rank == 0 else f"diverged_rank{rank}.json"
        self._path = Path(folder) / name
        self._model = model
        self._period = period
        self._losses: dict[str, torch.Tensor] = {}
        model.register_forward_hook(self._keep_losses)

    def _keep_losses(self, model: torch.nn.Module, inputs: Any, output: Any) -> None:
        if model.training and isinstance(output, dict):
            self._losses = {name: loss.detach() for name, loss in output.items()}

    def remove_record(self) -> None:
        """Remove the ``diverged.json`` of an earlier run in the folder."""
        self._path.unlink(missing_ok=True)

    @contextmanager
    def watch(self, trainer: DefaultTrainer) -> Iterator[None]:
        """Check the training step that runs in the block.

        Raises:
            TrainingDivergedError: a loss or a weight is NaN or infinite; ``diverged.json`` has the
                iteration, losses and slices.
        """
        self._losses = {}
        try:
            yield
        except FloatingPointError as error:
            # finite losses: the error is Detectron2's check of the predicted boxes
            fault = reason(error) if self._losses_are_finite() else "the loss is NaN or infinite"
            raise self._stop(trainer, fault) from None
        done = trainer.iter + 1
        checkpoint_follows = done % self._period == 0 or done == trainer.max_iter
        if not self._losses_are_finite():
            raise self._stop(trainer, "the loss is NaN or infinite")
        if checkpoint_follows and not self._weights_are_finite():
            raise self._stop(trainer, "a weight is NaN or infinite after a step with a finite loss")

    def _losses_are_finite(self) -> bool:
        return all(math.isfinite(loss.item()) for loss in self._losses.values())

    def _weights_are_finite(self) -> bool:
        """Check the weights too, since a finite loss can have an infinite gradient."""
        values = self._model.state_dict().values()
        return all(bool(torch.isfinite(v).all()) for v in values if v.is_floating_point())

    def _stop(self, trainer: DefaultTrainer, fault: str) -> TrainingDivergedError:
        """Write the record and return the error to raise."""
        rate = max(group["lr"] for group in trainer.optimizer.param_groups)
        checkpoint = trainer.checkpointer.get_checkpoint_file()
        keys = ("file_name", "image_id", "patient", "scan")
        content = {
            "iteration": trainer.iter,
            "reason": fault,
            # JSON has no NaN
            "losses": {name: _plain(loss.item()) for name, loss in self._losses.items()},
            "learning_rate": rate,
            "slices": [
                {key: item[key] for key in keys if key in item}
                for item in getattr(trainer.data_loader, "last_batch", ())
            ],
            "last_checkpoint": checkpoint or None,
        }
        write_together({self._path: json.dumps(content, indent=2, default=str) + "\n"})
        start = f"start from {checkpoint} (MODEL.WEIGHTS)" if checkpoint else "start a new run"
        return TrainingDivergedError(
            f"Training diverged at iteration {trainer.iter}: {fault}. Look at the slices listed in "
            f"{self._path}, lower SOLVER.BASE_LR (the rate was {rate:g}) or clip gradients "
            f"(SOLVER.CLIP_GRADIENTS), and {start}."
        )


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


# ---- log lines ----------------------------------------------------------------------------------
@contextmanager
def one_line_errors() -> Iterator[None]:
    """Log user errors in one line, without the traceback that Detectron2's training loop adds."""
    log = logging.getLogger(_DETECTRON2_LOOP)
    log.addFilter(_one_line)
    try:
        yield
    finally:
        log.removeFilter(_one_line)


def _one_line(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, FloatingPointError):  # becomes a TrainingDivergedError
        return False
    if isinstance(error, UserError) or is_storage_error(error):
        record.msg, record.args = f"Training stopped: {error}", ()
        record.exc_info = record.exc_text = None
    return True


def ignore_full_disk_in_logs() -> None:
    """Drop log lines that do not fit on a full disk, instead of printing a traceback for each.

    Files that the run needs still raise an error when they cannot be written.
    """
    for name in ("detectron2", "fvcore", "ct_lesion"):
        for handler in logging.getLogger(name).handlers:
            handler.handleError = _unless_disk_is_full(handler)


def _unless_disk_is_full(handler: logging.Handler) -> Callable[[logging.LogRecord], None]:
    report = handler.handleError

    def handle(record: logging.LogRecord) -> None:
        if not is_storage_error(sys.exc_info()[1]):
            report(record)

    return handle
