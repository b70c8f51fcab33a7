"""The trainer's ``build_*`` and ``test*`` methods, which subclasses may override."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.engine import DefaultTrainer
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators
from torch.optim.lr_scheduler import LRScheduler

from ct_lesion.data.loading.training_stream import build_training_stream
from ct_lesion.modeling.fast.inference import fast_inference

from .across_processes import share_statistics, unwrap_model
from .builders import (
    build_evaluator,
    build_logged_model,
    build_lr_scheduler,
    build_mapper,
    build_optimizer,
    build_test_loader,
    evaluation_folder,
)
from .run_record import EvaluationRecord, choose_seed
from .test_time_augmentation import augmentation_settings, with_augmentation, without_resizing


class BaseTrainer(DefaultTrainer):
    """``DefaultTrainer`` with ct_lesion's model, optimisers, data and evaluators.

    A subclass overrides what it wants to change; see docs/extend.md.
    """

    @classmethod
    def build_model(cls, cfg: CfgNode) -> torch.nn.Module:
        return build_logged_model(cfg)

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_mapper(cls, cfg: CfgNode, is_train: bool) -> Callable[[dict], dict]:
        """Build the function that maps a dataset's record to an input of the model."""
        return build_mapper(cfg, is_train)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        """Build the loader of ``DATASETS.TRAIN``; ``SEED`` determines its order.

        A subclass may return any other endless iterable of batches; resume is then not exact.
        """
        mapper = cls.build_mapper(cfg, is_train=True)
        return build_training_stream(cfg, training_records(cfg), mapper, choose_seed(cfg))

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        return build_test_loader(cfg, dataset_name, cls.build_mapper(cfg, is_train=False))

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | Path | None = None
    ) -> DatasetEvaluator:
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: torch.nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
    ) -> dict:
        """Evaluate on ``DATASETS.TEST`` as ``MODEL.FAST_PATH`` says, and record each evaluation.

        The record holds the hash of ``model``'s weights, before BatchNorm is folded into them.
        """
        model = unwrap_model(model)
        if evaluators is None:
            evaluators = [
                with_record(
                    cls.build_evaluator(cfg, name),
                    EvaluationRecord(cfg, model, name, evaluation_folder(cfg, name)),
                )
                for name in cfg.DATASETS.TEST
            ]
        share_statistics(model)
        return super().test(cfg, fast_inference(model, cfg), evaluators)

    @classmethod
    def test_with_TTA(cls, cfg: CfgNode, model: torch.nn.Module) -> dict:
        """Evaluate a segmenter on ``DATASETS.TEST`` with Detectron2's test-time augmentation.

        Like :meth:`test`, but each slice is passed in the sizes of ``TEST.AUG`` and, with
        ``TEST.AUG.FLIP``, mirrored. Writes to ``OUTPUT_DIR/inference_TTA/<dataset>``.

        Returns:
            The results as from :meth:`test`, with ``_TTA`` appended to each top-level key.
        """
        model = unwrap_model(model)
        evaluators = []
        for name in cfg.DATASETS.TEST:
            folder = evaluation_folder(cfg, name, augmented=True)
            record = EvaluationRecord(cfg, model, name, folder, augmentation_settings(cfg))
            evaluator = cls.build_evaluator(cfg, name, output_folder=folder)
            evaluators.append(with_record(evaluator, record))
        augmented = fast_inference(model, cfg, around=partial(with_augmentation, cfg=cfg))
        results = super().test(without_resizing(cfg), augmented, evaluators)
        return {f"{key}_TTA": value for key, value in results.items()}


def with_record(evaluator: DatasetEvaluator | None, record: EvaluationRecord) -> DatasetEvaluators:
    """The evaluator, if a subclass builds one, and the record of the evaluation."""
    return DatasetEvaluators([record] if evaluator is None else [evaluator, record])


def training_records(cfg: CfgNode) -> list[dict]:
    """Records of ``DATASETS.TRAIN``; ``FILTER_EMPTY_ANNOTATIONS`` drops slices without lesions."""
    return get_detection_dataset_dicts(
        cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    )
