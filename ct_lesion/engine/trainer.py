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
    build_detection_train_loader,
    get_detection_dataset_dicts,
)
from detectron2.engine import AMPTrainer, DefaultTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from detectron2.modeling import build_model
from detectron2.utils.events import EventWriter

from ct_lesion.checkpoint import (
    CheckpointError,
    LesionCheckpointer,
    describe,
    description_value,
    read_description,
    require_detector,
)
from ct_lesion.data.augmentation import build_lesion_mapper
from ct_lesion.data.mapper import ClassificationMapper
from ct_lesion.evaluation.classification import ClassificationEvaluator
from ct_lesion.evaluation.lesion_evaluator import LesionEvaluator
from ct_lesion.modeling.fast_inference import fast_inference
from ct_lesion.modeling.fast_path import fast_path
from ct_lesion.modeling.fast_training import use_fast_training
from ct_lesion.modeling.parameters import format_parameter_counts

from .across_processes import scale_to_processes, share_statistics
from .checks import class_names, dataset_hashes, is_classifier
from .fingerprint import unwrap_model
from .hooks import BestWeights, EpochMetricPrinter
from .optimizer import build_optimizer
from .roi_cache import build_cached_train_loader, can_cache, load_or_extract, sampler_of
from .run_record import EvaluationRecord, TrainingRecord


def load_trained(cfg: CfgNode) -> torch.nn.Module:
    """The model of a config with the weights ``MODEL.WEIGHTS``, complete, to evaluate or predict.

    Raises:
        CheckpointError: there are none, they do not fit the config, or a part of the model lacks.
    """
    if not cfg.MODEL.WEIGHTS:
        raise CheckpointError("MODEL.WEIGHTS is empty: trained weights are needed here.")
    model = LesionTrainer.build_model(cfg)
    checkpointer = LesionCheckpointer(model, cfg=cfg, strict=True)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    fresh = checkpointer.last_report.fresh
    if fresh:
        raise CheckpointError(
            f"{cfg.MODEL.WEIGHTS} lacks {len(fresh)} tensors of the model, the first is {fresh[0]}:"
            " choose the weights of a whole model in MODEL.WEIGHTS."
        )
    return model


def build_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper | ClassificationMapper:
    """The mapper of the config's task."""
    if is_classifier(cfg):
        return ClassificationMapper(cfg, is_train)
    return build_lesion_mapper(cfg, is_train)


class LesionTrainer(DefaultTrainer):
    """``DefaultTrainer`` with our optimisers, data, evaluators and checkpoints.

    A run's folder holds Detectron2's own files, ``model_final.safetensors`` and, by
    ``TEST.BEST_METRIC``, ``model_best.safetensors``, and evaluations in ``inference/<dataset>``.
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
        data_loader = self.build_train_loader(cfg, self._records)
        # a model on a CPU must be wrapped without device ids
        on_cpu = {"device_ids": None} if cfg.MODEL.DEVICE == "cpu" else {}
        ddp_model = create_ddp_model(model, broadcast_buffers=False, **on_cpu)
        step_trainer = AMPTrainer if cfg.SOLVER.AMP.ENABLED else SimpleTrainer
        self._trainer = step_trainer(ddp_model, data_loader, optimizer)
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
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """As ``DefaultTrainer``; a classifier then needs a detector in what was loaded.

        With a frozen detector the RoI batches of all training slices are computed here, once.

        Raises:
            CheckpointError: the weights cannot be used with this config.
        """
        super().resume_or_load(resume)
        if is_classifier(self.cfg):
            require_detector(self.cfg, self.checkpointer.last_report)
        if can_cache(self.cfg):
            mapper = build_mapper(self.cfg, is_train=True)
            began = time.perf_counter()
            cache = load_or_extract(self.cfg, self.model, self._records, mapper)
            self._record.preparation_seconds = time.perf_counter() - began
            sampler = sampler_of(self.data_loader)
            self.data_loader = build_cached_train_loader(self.cfg, cache, sampler)

    def train(self) -> None:
        """Train, evaluate, and keep the final weights with what describes them."""
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
        cls, cfg: CfgNode, records: list[dict] | None = None
    ) -> Iterable[list[dict]]:
        """Loader of ``records``, by default those of ``DATASETS.TRAIN``."""
        mapper = build_mapper(cfg, is_train=True)
        return build_detection_train_loader(cfg, mapper=mapper, dataset=records)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Detectron2's, in batches of as many slices as the fast path passes at once on a CPU."""
        on_cores = cfg.MODEL.DEVICE == "cpu" and fast_path(cfg) != "off"
        return build_detection_test_loader(
            cfg,
            dataset_name,
            mapper=build_mapper(cfg, is_train=False),
            batch_size=torch.get_num_threads() if on_cores else 1,
        )

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
        """Detectron2's writers, with the epoch in the printed line."""
        printer = EpochMetricPrinter(self.max_iter, self.iterations_per_epoch)
        return [printer, *super().build_writers()[1:]]

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks; before the writers, the best weights and the run's record."""
        hooks = super().build_hooks()
        if comm.is_main_process():
            hooks.insert(0, self._record)
            best = BestWeights(
                self.cfg.TEST.EVAL_PERIOD,
                _metric_name(self.cfg),
                save=self._save_weights,
                read_best=self._read_best,
            )
            hooks.insert(len(hooks) - 1, best)
        return hooks

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
