"""Builders of a config's model, optimiser, scheduler, mapper, test loader and evaluator."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from detectron2.solver import build_optimizer as build_sgd
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping
from torch.optim.lr_scheduler import LRScheduler

from ct_lesion.checkpoint import LesionCheckpointer, config_from_description
from ct_lesion.config import is_classifier
from ct_lesion.config_values import check_choice
from ct_lesion.data.loading.augmentation import build_lesion_mapper
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.data.loading.unreadable import EVALUATION_ADVICE, NamingMapper, StopAtUnreadable
from ct_lesion.errors import CheckpointError
from ct_lesion.evaluation.classification import ClassificationEvaluator
from ct_lesion.evaluation.lesion_evaluator import LesionEvaluator
from ct_lesion.modeling.fast.inference import fast_path
from ct_lesion.modeling.parameters import format_parameter_counts
from ct_lesion.modeling.roi_batch import RoIBatch

ADAM_VARIANTS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


def build_logged_model(cfg: CfgNode) -> torch.nn.Module:
    """Build the model of a config and log its parameter counts as in the paper's Table 1."""
    model = build_model(cfg)
    logging.getLogger(__name__).info(format_parameter_counts(model))
    return model


def load_trained(
    cfg: CfgNode, weights: str | Path | None = None, device: str | None = None
) -> torch.nn.Module:
    """Build a model and load all of its weights; returns it in test mode.

    Args:
        cfg: config of the model; it is not changed.
        weights: checkpoint; default: ``MODEL.WEIGHTS``.
        device: default: ``MODEL.DEVICE``, or the CPU if there is no GPU.

    Raises:
        CheckpointError: no weights are given, they do not fit the config, or tensors are missing.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = str(weights or cfg.MODEL.WEIGHTS)
    if not cfg.MODEL.WEIGHTS:
        raise CheckpointError(
            "MODEL.WEIGHTS is empty. Set it to trained weights, e.g. model_best.safetensors in the "
            "folder of a run."
        )
    if device:
        cfg.MODEL.DEVICE = device
    elif cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    model = build_logged_model(cfg)
    checkpointer = LesionCheckpointer(model, cfg=cfg, strict=True)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    fresh = checkpointer.last_report.fresh
    if fresh:
        raise CheckpointError(
            f"{cfg.MODEL.WEIGHTS} lacks {len(fresh)} tensors of the model, e.g. {fresh[0]}. "
            "Set MODEL.WEIGHTS to the weights of a complete model."
        )
    keep_padding_seed(model, described_config(checkpointer))
    return model.eval()


def described_config(checkpointer: LesionCheckpointer) -> CfgNode | None:
    """The config stored in the checkpoint that was loaded last; ``None`` if it stores none."""
    description = checkpointer.last_description or {}
    return config_from_description(description) if description.get("config") else None


def keep_padding_seed(model: torch.nn.Module, trained_with: CfgNode | None) -> None:
    """Set the seed of the RoI batches' random padding to the one of the classifier's training.

    S has learned from batches that were padded with this seed, so it goes with the weights and
    overrides ``SEED``. Nothing changes if the weights are not a classifier's.
    """
    if trained_with is not None and is_classifier(trained_with):
        model.roi_batch.seed = RoIBatch.from_config(trained_with)["seed"]


def build_optimizer(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser ``SOLVER.OPTIMIZER`` over all parameters that require a gradient.

    Detectron2 itself builds only SGD. Adam and AdamW take learning rates and weight decays from the
    same keys as SGD.

    Raises:
        ConfigError: ``SOLVER.OPTIMIZER`` is unknown.
    """
    name = cfg.SOLVER.OPTIMIZER
    check_choice("SOLVER.OPTIMIZER", name)
    if name == "SGD":
        return build_sgd(cfg, model)
    params = get_default_optimizer_params(
        model,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        base_lr=cfg.SOLVER.BASE_LR,
        bias_lr_factor=cfg.SOLVER.BIAS_LR_FACTOR,
    )
    optimizer = maybe_add_gradient_clipping(cfg, ADAM_VARIANTS[name])
    # A fused optimiser updates all parameters in one pass, which halves the time of S's step. With
    # AMP it also unscales the gradients, but only after they are clipped.
    fused = not (cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.CLIP_GRADIENTS.ENABLED)
    return optimizer(
        params, lr=cfg.SOLVER.BASE_LR, weight_decay=cfg.SOLVER.WEIGHT_DECAY, fused=fused
    )


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build Detectron2's scheduler, without a step at ``MAX_ITER``, which has no effect.

    Detectron2 drops steps after ``MAX_ITER`` but passes one at ``MAX_ITER`` to fvcore, which
    rejects it.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.STEPS = tuple(step for step in cfg.SOLVER.STEPS if step != cfg.SOLVER.MAX_ITER)
    return build_detectron2_scheduler(cfg, optimizer)


def build_mapper(cfg: CfgNode, is_train: bool) -> DatasetMapper | ClassificationMapper:
    """Build the training or test mapper for the task of a config."""
    if is_classifier(cfg):
        return ClassificationMapper(cfg, is_train)
    return build_lesion_mapper(cfg, is_train)


def build_test_loader(
    cfg: CfgNode, dataset_name: str, mapper: Callable[[dict], dict]
) -> Iterable[list[dict]]:
    """Build Detectron2's test loader; on the CPU's fast path a batch has one slice per core.

    Raises, when iterated:
        DatasetError: a slice cannot be read.
    """
    parallel = cfg.MODEL.DEVICE == "cpu" and fast_path(cfg) != "off"
    loader = build_detection_test_loader(
        cfg,
        dataset_name,
        mapper=NamingMapper(mapper),
        batch_size=torch.get_num_threads() if parallel else 1,
    )
    return StopAtUnreadable(loader, EVALUATION_ADVICE)


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_folder: str | Path | None = None
) -> DatasetEvaluator:
    """Build the evaluator for the task of a config.

    Args:
        cfg: config of the evaluation.
        dataset_name: a registered dataset.
        output_folder: where the evaluator writes; default: :func:`evaluation_folder`.
    """
    folder = str(output_folder or evaluation_folder(cfg, dataset_name))
    if is_classifier(cfg):
        return ClassificationEvaluator(dataset_name, output_dir=folder, config=cfg.dump())
    # Loading a shipped dataset sets the path of its json file, which depends on
    # $DETECTRON2_DATASETS. Without that path COCOEvaluator writes a json without patients.
    DatasetCatalog.get(dataset_name)
    return LesionEvaluator.from_config(cfg, dataset_name, folder)


def evaluation_folder(cfg: CfgNode, dataset_name: str, augmented: bool = False) -> Path:
    """``OUTPUT_DIR/inference/<dataset>``, or ``inference_TTA/<dataset>`` if ``augmented``."""
    return Path(cfg.OUTPUT_DIR) / ("inference_TTA" if augmented else "inference") / dataset_name
