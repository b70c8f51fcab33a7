"""Finds the checkpoint that a run resumes from, and checks the state in it."""

import logging
import math
import re
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode

from ct_lesion.errors import CheckpointError, reason
from ct_lesion.folders import check_regular

from .compatibility import same_value
from .finite import named_tensors, refuse_not_finite
from .weight_files import read_checkpoint

LAST_CHECKPOINT = "last_checkpoint"
_MAY_CHANGE = (
    *("OUTPUT_DIR", "SEED", "VERSION", "MODEL.WEIGHTS", "MODEL.DEVICE", "DATALOADER.NUM_WORKERS"),
    "SOLVER.REFERENCE_WORLD_SIZE",  # its effects are in other keys
)
_PERIODIC = re.compile(r"model_(\d+)\.pth")
_FINAL = "model_final.pth"
logger = logging.getLogger(__name__)


def find_complete(folder: Path, run: str | None = None) -> Path | None:
    """The checkpoint that ``last_checkpoint`` names, or the newest complete one before it.

    Args:
        folder: folder of the run.
        run: name of the run, if known; checkpoints of other runs in the folder are skipped.

    Returns:
        ``None`` if the run has no checkpoint.

    Raises:
        CheckpointError: the run has checkpoints, but none can be resumed from; or the content of
            ``last_checkpoint`` is not a file name.
    """
    named = read_tag(folder)
    last = folder / named
    problems = []
    for path in [*([last] if named else []), *_earlier(folder, named)]:
        try:
            writer = _run_of(path)
        except CheckpointError as error:
            problems.append(str(error))
            logger.warning("%s Trying an earlier checkpoint.", error)
            continue
        if run and writer and writer != run:
            continue
        if path != last:
            logger.warning("Resuming from %s, the newest complete checkpoint.", path)
        return path
    if problems:
        raise CheckpointError(
            f"No checkpoint in {folder} can be resumed from. The last one: {problems[0]} Start "
            "again without --resume, or from other weights in MODEL.WEIGHTS."
        )
    return None


def read_tag(folder: Path) -> str:
    """The name in ``last_checkpoint``; empty if the file is missing or empty.

    Raises:
        CheckpointError: the file cannot be read, or its content is not a file name.
    """
    path = folder / LAST_CHECKPOINT
    try:
        check_regular(path)
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({reason(error)}). Write the name of a checkpoint in this "
            "folder into it, or delete it."
        ) from None
    if name and (Path(name).name != name or "\0" in name):
        raise CheckpointError(
            f"{path} must contain the name of a checkpoint in this folder, not {name[:80]!r}. "
            "Write it into the file, e.g. model_0000999.pth."
        )
    return name


def _earlier(folder: Path, named: str) -> list[Path]:
    """Checkpoints in the folder from before the named one, newest first."""
    limit = _PERIODIC.fullmatch(named)
    numbered = [(int(m[1]), p) for p in folder.glob("*.pth") if (m := _PERIODIC.fullmatch(p.name))]
    before = sorted((n, p) for n, p in numbered if limit is None or n < int(limit[1]))
    paths = [path for _, path in reversed(before)]
    if not named and (folder / _FINAL).is_file():
        paths.insert(0, folder / _FINAL)
    return paths


def _run_of(path: Path) -> str | None:
    """Name of the run that wrote a checkpoint; reads all of it to check that it is complete.

    Raises:
        CheckpointError: the file is missing or damaged, or a tensor has NaN or infinite values.
    """
    rest = read_checkpoint(path).rest
    refuse_not_finite(path, named_tensors(rest))
    state = rest.get("trainer")
    return state.get("run") if isinstance(state, dict) else None


def restore(path: str, key: str, target: Any, state: Any) -> None:
    """Load a checkpoint's state into an optimizer, scheduler etc.

    Args:
        path: path of the checkpoint.
        key: name of the state in the checkpoint.
        target: has ``load_state_dict``.
        state: from the checkpoint.

    Raises:
        CheckpointError: the state does not fit, or an optimizer's state is not finite.
    """
    try:
        target.load_state_dict(state)
        if isinstance(target, torch.optim.Optimizer):
            check_optimizer(target)
    except CheckpointError:
        raise
    except Exception as error:  # each class raises other exceptions for a wrong state
        raise CheckpointError(
            f"{path} cannot resume, because its {key!r} does not fit "
            f"({type(error).__name__}: {reason(error)}). Delete last_checkpoint, or write the name "
            "of an earlier checkpoint into it."
        ) from error


def changed_keys(cfg: CfgNode, checkpoints: CfgNode) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ between a resumed run and its checkpoint.

    Keys about where a run computes and writes are ignored, and so is ``SEED``, because a resumed
    run keeps its seed.

    Args:
        cfg: config of the resumed run.
        checkpoints: the config in its checkpoint.

    Returns:
        The checkpoint's value and the run's value, by key.
    """
    theirs = _flat(checkpoints)
    return {
        key: (theirs.get(key), value)
        for key, value in _flat(cfg).items()
        if not key.startswith(_MAY_CHANGE) and not same_value(value, theirs.get(key))
    }


def _flat(node: CfgNode, parent: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{parent}{key}"
        values |= _flat(value, f"{name}.") if isinstance(value, CfgNode) else {name: value}
    return values


def with_hyperparameters_of(
    optimizer: torch.optim.Optimizer, state: dict, *, rates: bool
) -> dict[str, Any]:
    """A checkpoint's optimizer state with this run's momenta, weight decays etc.

    Args:
        optimizer: as built for this run.
        state: state of the checkpoint's optimizer.
        rates: whether to use this run's learning rates instead of the checkpoint's.

    Raises:
        ValueError: the state belongs to another kind of optimizer or to other parameters; or the
            checkpoint's rates are to be used, but this run has another initial rate.
    """
    ours, theirs = optimizer.state_dict()["param_groups"], state["param_groups"]
    if {"betas", "momentum"} & set(ours[0]) != {"betas", "momentum"} & set(theirs[0]):
        raise ValueError("it holds the state of another optimizer")
    sizes = [[len(group["params"]) for group in groups] for groups in (ours, theirs)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"its optimizer has groups of {sizes[1]} parameters, but this run's has {sizes[0]}"
        )
    first = [[g.get("initial_lr", g["lr"]) for g in groups] for groups in (ours, theirs)]
    if not rates and first[0] != first[1]:
        raise ValueError("only Detectron2's schedulers can continue at another learning rate")
    kept = ("params",) if rates else ("params", "lr", "initial_lr")
    groups = [
        {**group, **{key: value for key, value in mine.items() if key not in kept}}
        for mine, group in zip(ours, theirs, strict=True)
    ]
    return {**state, "param_groups": groups}


def check_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Check the rates and states of an optimizer.

    Raises:
        ValueError: one is NaN or infinite, or the shape of a state differs from its parameter's.
    """
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
    # "step" is a scalar; other states have one value per weight
    if value.numel() > 1 and value.shape != parameter.shape:
        raise ValueError(f"{name} of shape {tuple(value.shape)} for {tuple(parameter.shape)}")
    if value.is_floating_point() and not torch.isfinite(value).all():
        raise ValueError(f"{name} of a parameter is NaN or infinite")


def _is_number(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.numel() == 1 and bool(torch.isfinite(value).all())
    return isinstance(value, (int, float)) and math.isfinite(value)
