"""Detectron2's trainer for segmentation and classification, with exact resume."""

import contextlib
import logging
import time
import weakref
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer, PeriodicWriter
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

from ct_lesion.checkpoint import (
    LesionCheckpointer,
    describe,
    require_detector,
)
from ct_lesion.config import is_classifier
from ct_lesion.data.loading.seeding import seed_step
from ct_lesion.data.loading.training_stream import TrainingStream
from ct_lesion.errors import is_storage_error
from ct_lesion.files import add_path_to_errors
from ct_lesion.modeling.fast.training import use_fast_training

from .across_processes import scale_to_processes
from .base_trainer import BaseTrainer, training_records
from .checks import class_names, dataset_hashes, with_window
from .divergence import DivergenceGuard, one_line_errors
from .hooks import (
    BestWeights,
    EarlyStopping,
    EpochMetricPrinter,
    StopTraining,
    UnreadableSlices,
    ValidationLoss,
    default_hooks,
)
from .hooks.metrics_files import METRICS_FILE, ResumableWriter, SmoothingWindow
from .resuming import log_start, restore_run, set_seed
from .roi_cache import build_cached_train_loader, can_cache, load_or_extract, slices_left_out
from .run_record import TrainingRecord, choose_seed, recorded

logger = logging.getLogger(__name__)


class LesionTrainer(BaseTrainer):
    """``DefaultTrainer`` with ct_lesion's optimisers, data, evaluators and checkpoints.

    A run's folder holds Detectron2's files, ``model_final.safetensors``, the best weights by
    ``TEST.BEST_METRIC`` as ``model_best.safetensors``, and evaluations in ``inference/<dataset>``.

    The slices and random draws of a step depend only on the run's seed, the iteration and the
    process. A killed run that is resumed therefore gives the same weights; see docs/faults.md.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # DefaultTrainer.__init__ does not let the checkpointer and the DDP wrapper be replaced
        TrainerBase.__init__(self)
        cfg = with_window(scale_to_processes(cfg, comm.get_world_size()))
        self.cfg = cfg
        self.seed_is_given = cfg.SEED >= 0
        self.seed = choose_seed(cfg)
        set_seed(cfg, self.seed)  # also of the random padding of RoI batches
        model = self.build_model(cfg)
        use_fast_training(model, cfg)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        if not isinstance(data_loader, TrainingStream):  # a subclass overrides build_train_loader
            logger.warning(
                f"build_train_loader returned a {type(data_loader).__name__}, not a "
                "TrainingStream. A resumed run restarts it, so slices may repeat, and unreadable "
                "slices are not recorded."
            )
        slices = len(getattr(data_loader, "records", None) or training_records(cfg))
        self.iterations_per_epoch = slices / cfg.SOLVER.IMS_PER_BATCH
        # DDP on a CPU refuses device ids
        on_cpu = {"device_ids": None} if cfg.MODEL.DEVICE == "cpu" else {}
        ddp_model = create_ddp_model(model, broadcast_buffers=False, **on_cpu)
        step_trainer = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = step_trainer(ddp_model, data_loader, optimizer)
        self._guard = DivergenceGuard(ddp_model, cfg.OUTPUT_DIR, cfg.SOLVER.CHECKPOINT_PERIOD)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = LesionCheckpointer(
            ddp_model,
            cfg.OUTPUT_DIR,
            description=self._describe,
            cfg=cfg,
            trainer=weakref.proxy(self),
        )
        self._measured: dict[str, float] = {}
        self._last_eval_results: dict | None = None  # DefaultTrainer.train reads it
        self.record = TrainingRecord(cfg, self.seed)
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    # ---- start and resume -----------------------------------------------------------------------
    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last complete checkpoint, or load ``MODEL.WEIGHTS``.

        With a frozen detector this also computes the RoI batches of all training slices, once.

        Raises:
            CheckpointError: the weights do not fit this config, a classifier's weights lack a
                detector, or no checkpoint of the run is complete.
        """
        seed_of_loader = self.seed
        if resume:
            self.checkpointer.run = recorded(self.cfg.OUTPUT_DIR).get("run")
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if self.checkpointer.resumed_from:
            self.start_iter = self.iter + 1
        if resume:
            log_start(self)
        require_detector(self.cfg, self.checkpointer.last_report)
        if not isinstance(self.data_loader, TrainingStream):
            return
        if can_cache(self.cfg):
            records, mapper = self.data_loader.records, self.build_mapper(self.cfg, is_train=True)
            began = time.perf_counter()
            cache = load_or_extract(self.cfg, self.model, records, mapper)
            self.record.preparation_seconds = time.perf_counter() - began
            self.data_loader = build_cached_train_loader(self.cfg, cache, self.seed)
            left_out = slices_left_out(cache, records)
            self.data_loader.skipped = dict.fromkeys(left_out, "could not be read")
        elif self.seed != seed_of_loader:  # the checkpoint has another seed
            cfg = self.cfg.clone()
            set_seed(cfg, self.seed)
            self.data_loader = self.build_train_loader(cfg)
        self.data_loader.start = self.start_iter

    def state_dict(self) -> dict:
        """What a checkpoint stores besides the model: numbers, text and tensors."""
        return {**super().state_dict(), "seed": self.seed, "run": self.record.run}

    def load_state_dict(self, state: dict) -> None:
        """See :func:`ct_lesion.engine.resuming.restore_run`."""
        restore_run(self, state, super().load_state_dict)

    # ---- training -------------------------------------------------------------------------------
    def train(self) -> dict | None:
        """Train, evaluate and write the final weights.

        Returns:
            The results of the last evaluation; ``None`` if there was none.

        Raises:
            TrainingDivergedError: a loss or a weight is NaN or infinite; see ``diverged.json``.
            DatasetError: a slice cannot be read.
            CheckpointError: a checkpoint cannot be written.
        """
        with (
            one_line_errors(),
            add_path_to_errors(self.cfg.OUTPUT_DIR),
            contextlib.suppress(StopTraining),
        ):
            super().train()
        if comm.is_main_process():
            # names of evaluation metrics have a slash, those of losses do not
            latest = self.storage.latest()
            metrics = {name: float(value) for name, (value, _) in latest.items() if "/" in name}
            path = self._save_weights("model_final", metrics)
            logger.info(f"Final weights saved to {path}")
        return self._last_eval_results

    def before_train(self) -> None:
        """Prepare the hooks; in a resumed run, repeat those that follow the checkpoint.

        A run may be killed between its checkpoint and the evaluation of the same iteration, so
        the hooks after the checkpoint run again.
        """
        self._guard.remove_record()
        super().before_train()
        if self.start_iter == 0:
            if comm.is_main_process():
                self.checkpointer.begin_new_run()
            return
        self.iter = self.storage.iter = self.start_iter - 1
        repeated = (EvalHook, ValidationLoss, BestWeights, EarlyStopping, PeriodicWriter)
        if self.start_iter >= self.max_iter:
            repeated += (PeriodicCheckpointer,)  # writes model_final.pth
        for hook in self._hooks:
            if isinstance(hook, repeated):
                hook.after_step()
        self._stop_early()
        self.iter = self.storage.iter = self.start_iter

    def after_step(self) -> None:
        """Run the hooks.

        Raises:
            StopTraining: ``TEST.PATIENCE`` is exhausted.
        """
        super().after_step()
        self._stop_early()

    def _stop_early(self) -> None:
        """End the training after this iteration if :class:`EarlyStopping` gives a reason."""
        reason = next((h.reason for h in self._hooks if isinstance(h, EarlyStopping)), "")
        if not reason:
            return
        logger.info(f"Stopped early at iteration {self.iter + 1} of {self.max_iter}: {reason}.")
        self.record.stopped_early = reason
        self.max_iter = self.iter + 1
        for hook in self._hooks:
            if isinstance(hook, PeriodicCheckpointer):
                hook.max_iter = self.max_iter
                hook.after_step()  # writes model_final.pth
        self.iter += 1  # as after the last step
        raise StopTraining

    def run_step(self) -> None:
        """Run a training step with the generators seeded for this iteration."""
        seed_step(self.seed, self.iter)
        with self._guard.watch(self):
            super().run_step()

    def after_train(self) -> None:
        """Run the hooks; after a failure, neither evaluate nor hide the failure."""
        # a run that was resumed at its end counts one iteration too many
        self.iter = min(self.iter, self.max_iter)
        done = self.iter == self.max_iter
        # A run that stopped early was just evaluated. Detectron2 evaluates even if the last step
        # failed; this process could then wait for the others forever.
        stopped = bool(self.record.stopped_early)
        skipped = () if done and not stopped else (EvalHook, ValidationLoss, BestWeights)
        # Detectron2 prints no progress line at MAX_ITER; a run that stopped early repeats its last
        self.storage.iter = self.iter - 1 if stopped else self.iter
        for hook in self._hooks:
            if isinstance(hook, skipped):
                continue
            try:
                hook.after_train()
            except OSError as error:  # a full disk must not hide the error that ended the training
                if done or not is_storage_error(error):
                    raise

    # ---- hooks ----------------------------------------------------------------------------------
    def build_writers(self) -> list[EventWriter]:
        """Build Detectron2's writers, with the epoch in the progress line.

        They are built when training starts, so that TensorBoard drops events of an earlier run from
        the start iteration on.
        """
        folder = Path(self.cfg.OUTPUT_DIR)
        return [
            EpochMetricPrinter(self.max_iter, self.iterations_per_epoch),
            JSONWriter(str(folder / METRICS_FILE)),
            TensorboardXWriter(str(folder), purge_step=max(self.start_iter - 1, 0)),
        ]

    def build_hooks(self) -> list[HookBase]:
        """Build Detectron2's hooks and ct_lesion's; the writers come last."""
        unreadable = UnreadableSlices(
            lambda: getattr(self.data_loader, "skipped", {}), self.cfg.SOLVER.CHECKPOINT_PERIOD
        )
        hooks = [unreadable, *default_hooks(self, self._evaluate)]
        if self.cfg.TEST.EVAL_LOSS:
            hooks.append(ValidationLoss(self.cfg, self.build_mapper))
        if comm.is_main_process():
            self.record.skipped_slices = lambda: unreadable.found
            hooks.insert(1, self.record)
            writer = ResumableWriter(self.build_writers, self.cfg.OUTPUT_DIR)
            hooks += [SmoothingWindow(), BestWeights(self.cfg, self._save_weights)]
        if self.cfg.TEST.PATIENCE:
            hooks.append(EarlyStopping(self.cfg))
        return [*hooks, writer] if comm.is_main_process() else hooks

    def _evaluate(self) -> dict:
        self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    # ---- weights --------------------------------------------------------------------------------
    def _save_weights(self, name: str, metrics: dict[str, float]) -> Path:
        self._measured = metrics
        return self.checkpointer.save_weights(name)

    def _describe(self) -> dict[str, str]:
        """The description that is stored in the checkpoints of this run."""
        names = class_names(self.cfg, self.cfg.DATASETS.TRAIN[0])
        return describe(
            self.cfg,
            class_names={"images": names} if is_classifier(self.cfg) else names,
            dataset_hashes=dataset_hashes(self.cfg),
            metrics=self._measured,
        )
