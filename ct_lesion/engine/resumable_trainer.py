"""A trainer that goes on where a killed run was, and stops where going on makes no sense."""

import logging

from detectron2.engine import AMPTrainer, DefaultTrainer
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer, PeriodicWriter
from detectron2.utils import comm

from ct_lesion.checkpoint import LesionCheckpointer
from ct_lesion.errors import is_storage_error, reason
from ct_lesion.files import errors_name

from .divergence import DivergenceGuard
from .hooks import BestWeights
from .run_record import TrainingRecord
from .seeds import seed_step
from .stopping import one_line_errors


class ResumableTrainer(DefaultTrainer):
    """``DefaultTrainer`` whose steps depend on the run's seed and the iteration alone.

    A subclass sets the attributes, and a ``data_loader`` that is a ``TrainingStream``.
    """

    checkpointer: LesionCheckpointer
    _seed: int
    _record: TrainingRecord
    _guard: DivergenceGuard

    def train(self) -> None:
        """Train and evaluate.

        Raises:
            TrainingDivergedError: the loss or a weight is no number; see ``diverged.json``.
            DatasetError: a slice cannot be read.
            CheckpointError: a checkpoint cannot be written.
        """
        with one_line_errors(), errors_name(self.cfg.OUTPUT_DIR):
            super().train()

    def before_train(self) -> None:
        """Prepare the hooks; a resumed run first does what comes after writing a checkpoint.

        A run may be killed between its checkpoint and the evaluation of the same iteration. What
        it did after the checkpoint counts as not done, and is done again.
        """
        self._guard.clear()
        super().before_train()
        if self.start_iter == 0:
            if comm.is_main_process():
                self.checkpointer.begin_new_run()
            return
        self.iter = self.storage.iter = self.start_iter - 1
        kinds = (EvalHook, BestWeights, PeriodicWriter)
        if self.start_iter >= self.max_iter:
            kinds += (PeriodicCheckpointer,)  # the last one, under its other name
        for hook in self._hooks:
            if isinstance(hook, kinds):
                hook.after_step()
        self.iter = self.storage.iter = self.start_iter

    def after_train(self) -> None:
        # a run that was resumed at its end would count one iteration too many
        self.iter = min(self.iter, self.max_iter)
        if self.iter == self.max_iter:
            super().after_train()
            return
        # what ended the training is told; that a full disk also keeps the rest from being written
        # must not hide it
        self.storage.iter = self.iter
        for hook in self._hooks:
            # Detectron2 evaluates also where the last step failed: alone, waiting for the others
            if isinstance(hook, EvalHook | BestWeights):
                continue
            try:
                hook.after_train()
            except OSError as error:
                if not is_storage_error(error):
                    raise

    def run_step(self) -> None:
        """A training step; its random draws depend on seed, iteration and process alone."""
        seed_step(self._seed, self.iter)
        self._guard.forget()
        why = "the loss is NaN or infinite"
        try:
            super().run_step()
        except FloatingPointError as error:
            if self._guard.check_losses():  # it was Detectron2's check of predicted boxes
                why = reason(error)
        else:
            due = (self.iter + 1) % self.cfg.SOLVER.CHECKPOINT_PERIOD == 0
            last = self.iter + 1 == self.max_iter
            if self._guard.check_losses():
                if not (due or last) or self._guard.check_weights():
                    return
                why = "a weight is NaN or infinite after a step with a finite loss"
        raise self._guard.stop(
            self.iter,
            self.data_loader.last_batch,
            max(group["lr"] for group in self.optimizer.param_groups),
            self.checkpointer.get_checkpoint_file(),
            why,
        ) from None

    def state_dict(self) -> dict:
        """What a checkpoint holds beside the model: numbers, text and tensors."""
        return {**super().state_dict(), "seed": self._seed, "run": self._record.run}

    def load_state_dict(self, state: dict) -> None:
        """Take up a run where a checkpoint was written."""
        log = logging.getLogger(__name__)
        state = {**state, "_trainer": dict(state["_trainer"])}
        # some hooks are in the main process alone, and an earlier version had fewer
        ours = {type(hook).__qualname__ for hook in self._hooks}
        hooks = state.get("hooks", {})
        state["hooks"] = {name: value for name, value in hooks.items() if name in ours}
        if isinstance(self._trainer, AMPTrainer) and "grad_scaler" not in state["_trainer"]:
            log.warning("The run began without SOLVER.AMP.ENABLED: the loss scale starts anew.")
            state["_trainer"]["grad_scaler"] = self._trainer.grad_scaler.state_dict()
        if "seed" in state and state["seed"] != self._seed:
            if self.cfg.SEED >= 0:
                log.warning(
                    f"SEED is {self.cfg.SEED}, but the run began with {state['seed']} and goes on "
                    "with it."
                )
            self._seed = self._record.seed = int(state["seed"])
        self._record.run = state.get("run", self._record.run)
        super().load_state_dict(state)
