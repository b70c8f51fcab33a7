"""Restores a run from its checkpoint, and logs the keys that differ from the checkpoint's."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer
from detectron2.solver import LRMultiplier

from ct_lesion.checkpoint import changed_keys, check_optimizer, with_hyperparameters_of
from ct_lesion.errors import CheckpointError

from .across_processes import unwrap_model
from .builders import described_config, keep_padding_seed

if TYPE_CHECKING:
    from .trainer import LesionTrainer

logger = logging.getLogger(__name__)


def restore_run(trainer: "LesionTrainer", state: dict, load: Callable[[dict], None]) -> None:
    """Restore a state that ``trainer.state_dict()`` returned, in this or an earlier version.

    Weights, the optimizer's moments and the seed come from the checkpoint. Learning rates, momenta,
    weight decays and the schedule come from this run's config; the log and ``training.json`` list
    the keys that differ from the checkpoint's.

    Args:
        trainer: built for this run.
        state: state of the trainer, from its checkpoint.
        load: ``load_state_dict`` of Detectron2's trainer.

    Raises:
        CheckpointError: the run cannot continue with this config; names the keys that differ.
    """
    state = {**state, "_trainer": dict(state["_trainer"])}
    # the state may include hooks that this process lacks: some run in the main process only
    ours = {type(hook).__qualname__ for hook in trainer._hooks}
    hooks = state.get("hooks", {})
    state["hooks"] = {name: value for name, value in hooks.items() if name in ours}
    if isinstance(trainer._trainer, AMPTrainer) and "grad_scaler" not in state["_trainer"]:
        logger.warning(
            "The run began without SOLVER.AMP.ENABLED, so its checkpoint has no loss scale. The "
            "default is used."
        )
        state["_trainer"]["grad_scaler"] = trainer._trainer.grad_scaler.state_dict()
    described = described_config(trainer.checkpointer)
    changes = changed_keys(trainer.cfg, described) if described else {}
    listed = ", ".join(f"{key} {before} -> {now}" for key, (before, now) in changes.items())
    try:
        if "SOLVER.OPTIMIZER" in changes:  # Adam and AdamW have the same kind of state
            raise ValueError("it holds the state of another optimizer")
        _load(trainer, state, load)
    except ValueError as error:
        differs = f" Keys that differ: {listed}." if changes else ""
        raise CheckpointError(
            f"{trainer.checkpointer.last_report.path} cannot be resumed with this config: {error}."
            f"{differs} Use the checkpoint's config, or start a new run from its weights "
            "(MODEL.WEIGHTS, without --resume)."
        ) from error
    trainer.record.run = state.get("run", trainer.record.run)
    if changes:
        start = trainer.iter + 1
        logger.warning(f"From iteration {start} on, keys differ from the checkpoint's: {listed}.")
        pairs = {key: list(values) for key, values in changes.items()}
        trainer.record.changes.append({"iteration": start, "keys": pairs})
    _restore_seeds(trainer, state.get("seed", trainer.seed), described)


def _load(trainer: "LesionTrainer", state: dict, load: Callable[[dict], None]) -> None:
    """Load the state, with hyperparameters and schedule of this run's config.

    Raises:
        ValueError: the state does not fit this config.
    """
    done = state["iteration"] + 1
    if done > trainer.max_iter:
        raise ValueError(f"it has done {done} iterations, SOLVER.MAX_ITER is {trainer.max_iter}")
    optimizer, scheduler = trainer.optimizer, trainer.scheduler
    by_schedule = isinstance(scheduler, LRMultiplier)
    base_rates = [group.get("initial_lr") for group in optimizer.param_groups]
    state["_trainer"]["optimizer"] = with_hyperparameters_of(
        optimizer, state["_trainer"]["optimizer"], rates=by_schedule
    )
    load(state)
    if by_schedule:
        scheduler.base_lrs = base_rates
        for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
            group["lr"] = rate
    check_optimizer(optimizer)


def _restore_seeds(trainer: "LesionTrainer", seed: int, described: CfgNode | None) -> None:
    if seed != trainer.seed:
        if trainer.seed_is_given:
            logger.warning(f"SEED is {trainer.seed}, but the run began with {seed} and keeps it.")
        trainer.seed = trainer.record.seed = int(seed)
        set_seed(trainer.cfg, trainer.seed)
    model = unwrap_model(trainer.model)
    keep_padding_seed(model, described)
    if hasattr(model, "roi_batch"):  # so that the next checkpoint describes the seed in use
        set_seed(trainer.cfg, model.roi_batch.seed)


def log_start(trainer: "LesionTrainer") -> None:
    """Warn if a resumed run starts from iteration 0, or has no iterations left."""
    if trainer.checkpointer.resumed_from is None:
        logger.warning(
            f"{trainer.cfg.OUTPUT_DIR} holds no checkpoint to resume from, so training starts "
            "from iteration 0 with MODEL.WEIGHTS. Check OUTPUT_DIR if you expected a checkpoint."
        )
    elif trainer.start_iter >= trainer.max_iter:
        logger.warning(
            f"The run has done all of its {trainer.max_iter} iterations (SOLVER.MAX_ITER), so it "
            "is only evaluated. Set a larger SOLVER.MAX_ITER to train it further."
        )


def set_seed(cfg: CfgNode, seed: int) -> None:
    """Change ``SEED`` of a config in place, frozen or not."""
    frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.SEED = seed
    if frozen:
        cfg.freeze()
