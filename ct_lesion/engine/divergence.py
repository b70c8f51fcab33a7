"""A training whose loss or weights are no numbers any more: it stops and says where that was."""

import json
import math
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm

from ct_lesion.errors import UserError
from ct_lesion.files import write_together

DIVERGED_FILE = "diverged.json"


class TrainingDivergedError(UserError):
    """The loss or a weight became NaN or infinite."""


class DivergenceGuard:
    """Watches the losses of a model in training, and leaves ``diverged.json``."""

    def __init__(self, model: torch.nn.Module, folder: str | Path) -> None:
        """
        Args:
            model: gives a dict of losses in training; may be wrapped for distributed training.
            folder: of the run.
        """
        rank = comm.get_rank()
        name = DIVERGED_FILE if rank == 0 else f"diverged_rank{rank}.json"
        self._path = Path(folder) / name
        self._model = model
        self._losses: dict[str, torch.Tensor] = {}
        model.register_forward_hook(self._keep)

    def _keep(self, model: torch.nn.Module, inputs: Any, output: Any) -> None:
        if model.training and isinstance(output, dict):
            self._losses = {name: loss.detach() for name, loss in output.items()}

    def clear(self) -> None:
        """Remove the record of an earlier run in the folder."""
        self._path.unlink(missing_ok=True)

    def forget(self) -> None:
        """Before a step: what was seen belongs to the step before."""
        self._losses = {}

    def check_losses(self) -> bool:
        """Whether the losses of the last step are numbers, in this process."""
        return all(math.isfinite(loss.item()) for loss in self._losses.values())

    def check_weights(self) -> bool:
        """Whether all weights are numbers. A finite loss can have an infinite gradient."""
        values = self._model.state_dict().values()
        floats = [v for v in values if v.is_floating_point()]
        return all(bool(torch.isfinite(v).all()) for v in floats)

    def stop(
        self, iteration: int, batch: list[dict], learning_rate: float, checkpoint: str, reason: str
    ) -> TrainingDivergedError:
        """Write the record; gives the error to raise.

        Args:
            iteration: of the step, from 0.
            batch: its slices.
            learning_rate: of the step.
            checkpoint: the file to go on from, empty if there is none yet.
            reason: what is no number.
        """
        slices = [
            {key: item[key] for key in ("file_name", "image_id", "patient", "scan") if key in item}
            for item in batch
        ]
        content = {
            "iteration": iteration,
            "reason": reason,
            # JSON has no NaN
            "losses": {name: _plain(loss.item()) for name, loss in self._losses.items()},
            "learning_rate": learning_rate,
            "slices": slices,
            "last_checkpoint": checkpoint or None,
        }
        write_together({self._path: json.dumps(content, indent=2, default=str) + "\n"})
        start = f"start from {checkpoint} (MODEL.WEIGHTS)" if checkpoint else "start anew"
        return TrainingDivergedError(
            f"Training diverged at iteration {iteration}: {reason}. Look at the slices listed in "
            f"{self._path}, lower SOLVER.BASE_LR (the rate was {learning_rate:g}) or clip gradients"
            f" (SOLVER.CLIP_GRADIENTS), and {start}."
        )


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
