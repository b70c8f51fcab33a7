"""Detectron2's trainer for segmentation and classification."""

import logging
import time
import weakref
from collections.abc import Iterable
from pathlib import Path

import detectron2.utils.comm as comm
import torch
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from detectron2.utils.events import EventWriter, JSONWriter, TensorboardXWriter

from ct_lesion.checkpoint import (
    CheckpointError,
    LesionCheckpointer,
    describe,
    description_value,
    read_description,
    require_detector,
)
from ct_lesion.config import is_classifier
from ct_lesion.data.loading.augmentation import build_lesion_mapper
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.data.loading.training_stream import TrainingStream, build_training_stream
from ct_lesion.data.loading.unreadable import EVALUATION_ADVICE, NamingMapper, StopAtUnreadable
from ct_lesion.evaluation.classification import ClassificationEvaluator
from ct_lesion.evaluation.lesion_evaluator import LesionEvaluator
from ct_lesion.modeling.fast.inference import fast_inference, fast_path
from ct_lesion.modeling.fast.training import use_fast_training
from ct_lesion.modeling.parameters import format_parameter_counts

from .across_processes import scale_to_processes, share_statistics
from .checks import class_names, dataset_hashes
from .divergence import DivergenceGuard
from .fingerprint import unwrap_model
from .hooks import BestWeights, EpochMetricPrinter, UnreadableSlices
from .metrics_files import METRICS_FILE, ResumableWriter, SmoothingWindow
from .optimizer import build_optimizer
from .resumable_trainer import ResumableTrainer
from .roi_cache import build_cached_train_loader, can_cache, load_or_extract, slices_left_out
from .run_record import EvaluationRecord, TrainingRecord
from .seeds import choose_seed, recorded


def load_trained(
    cfg: CfgNode, weights: str | Path | None = None, device: str | None = None
) -> torch.nn.Module:
    """Load a trained model, complete and in test mode.

    Args:
        cfg: of the model; it is not changed.
        weights: checkpoint; default: ``MODEL.WEIGHTS``.
        device: default: ``MODEL.DEVICE``, or the CPU if there is no GPU.

    Raises:
        CheckpointError: no weights are given, they do not fit the config, or tensors are missing.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(weights or cfg.MODEL.WEIGHTS)
    if not cfg.MODEL.WEIGHTS:
        raise CheckpointError("MODEL.WEIGHTS is empty. Set it to trained weights.")
    if device:
        cfg.MODEL.DEVICE = device
    elif cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    model = LesionTrainer.build_model(cfg)
    checkpointer = LesionCheckpointer(model, cfg=cfg, strict=True)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    fresh = checkpointer.last_report.fresh
    if fresh:
        raise CheckpointError(
            f"{cfg.MODEL.WEIGHTS} lacks {len(fresh)} tensors of the model, e.g. {fresh[0]}. "
            "Set MODEL.WEIGHTS to the weights of a whole model."
        )
    return model.eval()


def build_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper | ClassificationMapper:
    """The mapper of the config's task."""
    if is_classifier(cfg):
        return ClassificationMapper(cfg, is_train)
    return build_lesion_mapper(cfg, is_train)


class LesionTrainer(ResumableTrainer):
    """``DefaultTrainer`` with our optimisers, data, evaluators and checkpoints.

    A run's folder holds Detectron2's own files, ``model_final.safetensors`` and, by
    ``TEST.BEST_METRIC``, ``model_best.safetensors``, and evaluations in ``inference/<dataset>``.

    What a step reads and draws depends on the run's seed and the iteration alone, so that a run
    that was killed and resumed does what it would have done; see docs/faults.md.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # not DefaultTrainer.__init__, whose checkpointer and DDP wrapper cannot be replaced
        TrainerBase.__init__(self)
        self.cfg = cfg = scale_to_processes(cfg, comm.get_world_size())
        model = self.build_model(cfg)
        use_fast_training(model, cfg)
        optimizer = self.build_optimizer(cfg, model)
        self._records = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
        self.iterations_per_epoch = len(self._records) / cfg.SOLVER.IMS_PER_BATCH
        self._seed = choose_seed(cfg)
        data_loader = self.build_train_loader(cfg, self._records, self._seed)
        # a model on a CPU must be wrapped without device ids
        on_cpu = {"device_ids": None} if cfg.MODEL.DEVICE == "cpu" else {}
        ddp_model = create_ddp_model(model, broadcast_buffers=False, **on_cpu)
        step_trainer = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = step_trainer(ddp_model, data_loader, optimizer)
        self._guard = DivergenceGuard(ddp_model, cfg.OUTPUT_DIR)
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = LesionCheckpointer(
            ddp_model,
            cfg.OUTPUT_DIR,
            description=self._describe,
            cfg=cfg,
            trainer=weakref.proxy(self),
        )
        self._measured: dict[str, float] = {}
        self._record = TrainingRecord(cfg, cfg.SOLVER.CHECKPOINT_PERIOD)
        self._record.seed = self._seed
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """As ``DefaultTrainer``, from the last complete checkpoint.

        A classifier then needs a detector in what was loaded. With a frozen detector the RoI
        batches of all training slices are computed here, once.

        Raises:
            CheckpointError: the weights cannot be used with this config, or there are checkpoints
                to resume from, but none is complete.
        """
        began_with = self._seed
        if resume:
            self.checkpointer.run = recorded(self.cfg.OUTPUT_DIR).get("run")
        self.checkpointer.resume_or_load(self.cfg.MODEL.WEIGHTS, resume=resume)
        if self.checkpointer.resumed_from:
            self.start_iter = self.iter + 1
        if is_classifier(self.cfg):
            require_detector(self.cfg, self.checkpointer.last_report)
        if can_cache(self.cfg):
            mapper = build_mapper(self.cfg, is_train=True)
            began = time.perf_counter()
            cache = load_or_extract(self.cfg, self.model, self._records, mapper)
            self._record.preparation_seconds = time.perf_counter() - began
            self.data_loader = build_cached_train_loader(self.cfg, cache, self._seed)
            left_out = slices_left_out(cache, self._records)
            self.data_loader.skipped = dict.fromkeys(left_out, "could not be read")
        elif self._seed != began_with:
            self.data_loader = self.build_train_loader(self.cfg, self._records, self._seed)
        self.data_loader.start = self.start_iter

    def train(self) -> None:
        """As :class:`ResumableTrainer`, and keep the final weights with what describes them."""
        super().train()
        if comm.is_main_process():
            path = self._save_weights("model_final", self._last_metrics())
            logging.getLogger(__name__).info(f"Final weights saved to {path}")

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        """Build the model and log its parameter counts as in the paper's Table 1."""
        model = build_model(cfg)
        logging.getLogger(__name__).info(format_parameter_counts(model))
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(
        cls, cfg: CfgNode, records: list[dict] | None = None, seed: int | None = None
    ) -> TrainingStream:
        """Loader of ``records``, by default those of ``DATASETS.TRAIN``, in the order of a seed."""
        if records is None:
            records = get_detection_dataset_dicts(
                cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
            )
        mapper = build_mapper(cfg, is_train=True)
        return build_training_stream(
            cfg, records, mapper, choose_seed(cfg) if seed is None else seed
        )

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Detectron2's, in batches of as many slices as the fast path passes at once on a CPU.

        A slice that cannot be read ends the evaluation with a ``DatasetError``.
        """
        on_cores = cfg.MODEL.DEVICE == "cpu" and fast_path(cfg) != "off"
        loader = build_detection_test_loader(
            cfg,
            dataset_name,
            mapper=NamingMapper(build_mapper(cfg, is_train=False)),
            batch_size=torch.get_num_threads() if on_cores else 1,
        )
        return StopAtUnreadable(loader, EVALUATION_ADVICE)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """The evaluator of the config's task; it writes into ``inference/<dataset>``."""
        folder = str(_evaluation_folder(cfg, dataset_name))
        if is_classifier(cfg):
            return ClassificationEvaluator(dataset_name, output_dir=folder, config=cfg.dump())
        # Where a shipped dataset lies is known when it is loaded, and may have changed since the
        # last time; without its file Detectron2's evaluator would make one, without patients.
        DatasetCatalog.get(dataset_name)
        return LesionEvaluator.from_config(cfg, dataset_name, folder)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: torch.nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
    ) -> dict:
        """As ``DefaultTrainer``, by ``MODEL.FAST_PATH``, and each evaluation leaves a record.

        The record is of the model's own weights, whichever path the slices take.
        """
        if evaluators is None:
            evaluators = [
                DatasetEvaluators(
                    [
                        cls.build_evaluator(cfg, name),
                        EvaluationRecord(cfg, model, name, _evaluation_folder(cfg, name)),
                    ]
                )
                for name in cfg.DATASETS.TEST
            ]
        share_statistics(unwrap_model(model))
        return super().test(cfg, fast_inference(unwrap_model(model), cfg), evaluators)

    def build_writers(self) -> list[EventWriter]:
        """None yet: they open their files when training starts, by :meth:`open_writers`."""
        return []

    def open_writers(self) -> list[EventWriter]:
        """Detectron2's writers, with the epoch in the printed line.

        TensorBoard is told to forget what an earlier run wrote of the iterations that come.
        """
        folder = Path(self.cfg.OUTPUT_DIR)
        return [
            EpochMetricPrinter(self.max_iter, self.iterations_per_epoch),
            JSONWriter(str(folder / METRICS_FILE)),
            TensorboardXWriter(str(folder), purge_step=max(self.start_iter - 1, 0)),
        ]

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks; before the writers, the best weights and the run's record."""
        hooks = super().build_hooks()
        period = self.cfg.SOLVER.CHECKPOINT_PERIOD
        unreadable = UnreadableSlices(lambda: self.data_loader.skipped, period)
        if comm.is_main_process():
            self._record.skipped_slices = lambda: unreadable.found
            hooks.insert(0, self._record)
            best = BestWeights(
                self.cfg.TEST.EVAL_PERIOD,
                _metric_name(self.cfg),
                save=self._save_weights,
                read_best=self._read_best,
            )
            writer = ResumableWriter(self.open_writers, self.cfg.OUTPUT_DIR)
            hooks[-1:] = [SmoothingWindow(), best, writer]
        return [unreadable, *hooks]

    def _save_weights(self, name: str, metrics: dict[str, float]) -> Path:
        self._measured = metrics
        return self.checkpointer.save_weights(name)

    def _describe(self) -> dict[str, str]:
        """What a checkpoint of this run says about itself."""
        names = class_names(self.cfg, self.cfg.DATASETS.TRAIN[0])
        return describe(
            self.cfg,
            class_names={"images": names} if is_classifier(self.cfg) else names,
            dataset_hashes=dataset_hashes(self.cfg),
            metrics=self._measured,
        )

    def _read_best(self, name: str) -> float | None:
        path = Path(self.cfg.OUTPUT_DIR) / f"{name}.safetensors"
        if not path.is_file():
            return None
        metrics = description_value(read_description(path), "metrics") or {}
        return metrics.get(_metric_name(self.cfg))

    def _last_metrics(self) -> dict[str, float]:
        """What the last evaluation measured; its names have a slash, those of losses do not."""
        return {k: float(v) for k, (v, _) in self.storage.latest().items() if "/" in k}


def _evaluation_folder(cfg: CfgNode, dataset_name: str) -> Path:
    return Path(cfg.OUTPUT_DIR) / "inference" / dataset_name


def _metric_name(cfg: CfgNode) -> str:
    """``TEST.BEST_METRIC`` of the first test set, as the event storage names it."""
    several = len(cfg.DATASETS.TEST) > 1
    return f"{cfg.DATASETS.TEST[0]}/{cfg.TEST.BEST_METRIC}" if several else cfg.TEST.BEST_METRIC
