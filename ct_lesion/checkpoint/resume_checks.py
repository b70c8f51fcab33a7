"""What a run goes on from, compared with the run, before the first step uses it."""

import math
from typing import Any

import torch

from ct_lesion.errors import CheckpointError, reason

ITERATION_KEY = "iteration"


def restore(path: str, key: str, target: Any, state: Any) -> None:
    """Give an optimizer, scheduler etc. the state that a checkpoint holds of it.

    Args:
        path: of the checkpoint.
        key: what the state is called in it.
        target: has ``load_state_dict``.
        state: from the checkpoint.

    Raises:
        CheckpointError: the state is of something else, or an optimizer's is not finite.
    """
    try:
        target.load_state_dict(state)
        if isinstance(target, torch.optim.Optimizer):
            _check_optimizer(target)
    except Exception as error:  # each class fails in its own way on another's state
        raise CheckpointError(
            f"{path}: the run cannot go on from it, its {key!r} does not fit "
            f"({type(error).__name__}: {reason(error)}). Remove last_checkpoint, or write an "
            "earlier checkpoint's name into it."
        ) from error


def check_iteration(path: str, rest: dict[str, Any]) -> None:
    """
    Raises:
        CheckpointError: the iteration that the run goes on from is no whole number.
    """
    iteration = rest.get(ITERATION_KEY, 0)
    if type(iteration) is not int or iteration < -1:
        raise CheckpointError(
            f"{path} is damaged: its iteration is {str(iteration)[:80]!r}. Use an earlier one."
        )


def _check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        for name, value in group.items():
            if isinstance(optimizer.defaults.get(name), float) and not _is_number(value):
                raise ValueError(f"{name} is {str(value)[:80]}")
        for parameter in group["params"]:
            for name, value in optimizer.state.get(parameter, {}).items():
                _check_state(name, value, parameter)


def _check_state(name: str, value: Any, parameter: torch.Tensor) -> None:
    if not isinstance(value, torch.Tensor):
        return
    # "step" has one number; all others have one for each weight
    if value.numel() > 1 and value.shape != parameter.shape:
        raise ValueError(f"{name} of shape {tuple(value.shape)} for {tuple(parameter.shape)}")
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"{name} of a parameter is NaN or infinite")


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and bool(torch.isfinite(value).all())
    return isinstance(value, (int, float)) and math.isfinite(value)
