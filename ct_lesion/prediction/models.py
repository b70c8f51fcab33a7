"""Trained models from checkpoints that carry their config."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode

from ct_lesion.checkpoint import (
    CheckpointError,
    check_size,
    config_from_description,
    description_value,
    read_description,
)
from ct_lesion.config import NOT_A_CONFIG, is_classifier
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.setup import read_config
from ct_lesion.errors import ConfigError, UserError
from ct_lesion.modeling.fast.inference import fast_inference

# names for checkpoints without any
LESION_CLASSES = {len(m.classes): list(m.classes) for m in map(MASK_TYPES.get, ("merge", "both"))}
LONGEST_NAME = 100  # characters of a class's name


@dataclass(frozen=True)
class TrainedModel:
    """A model to predict with, and what there is to say about it.

    Attributes:
        model: in test mode, of Detectron2's modules.
        network: what predicts, faster: the same numbers; see ``MODEL.FAST_PATH``.
        cfg: its config.
        classes: names of what it predicts: lesions (segmenter) or images (classifier).
        path: of its checkpoint.
        weights_sha256: of its tensors.
        temperature: its logits are divided by it for probabilities; 1 if none was fitted.
    """

    model: torch.nn.Module
    network: torch.nn.Module
    cfg: CfgNode
    classes: tuple[str, ...]
    path: Path
    weights_sha256: str
    temperature: float = 1.0


def load_segmenter(
    path: str | Path,
    *,
    device: str | None = None,
    score_thresh: float | None = None,
    config_file: str | None = None,
    overrides: Sequence[str] = (),
) -> TrainedModel:
    """A lesion segmenter.

    Args:
        path: checkpoint.
        device: "cpu", "cuda", ...; by default a GPU if there is one.
        score_thresh: lesions scored above it are given; default ``TEST.PAPER_SCORE_THRESH``.
        config_file: by default the config in the checkpoint.
        overrides: alternating keys and values.

    Raises:
        CheckpointError: a file that cannot be read, describes no config, or is no segmenter.
        ConfigError: a device that is not there, or a wrong key or value.
    """
    cfg = _config(path, config_file, overrides, device)
    if is_classifier(cfg) or not cfg.MODEL.MASK_ON:
        raise CheckpointError(
            f"{path}: is no lesion segmenter (MODEL.META_ARCHITECTURE "
            f"{cfg.MODEL.META_ARCHITECTURE}, MASK_ON {cfg.MODEL.MASK_ON}). Give one with "
            "--segmentation."
        )
    threshold = cfg.TEST.PAPER_SCORE_THRESH if score_thresh is None else score_thresh
    if not 0 <= threshold < 1:
        raise ConfigError(f"The score threshold is {threshold}, expected 0 up to below 1.")
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = float(threshold)
    return _load(path, cfg, LESION_CLASSES.get(cfg.MODEL.ROI_HEADS.NUM_CLASSES, []))


def load_classifier(
    path: str | Path, *, device: str | None = None, overrides: Sequence[str] = ()
) -> TrainedModel:
    """A COVID-CT-Mask-Net; arguments and errors as :func:`load_segmenter`'s."""
    cfg = _config(path, None, overrides, device)
    if not is_classifier(cfg):
        raise CheckpointError(
            f"{path}: is no classifier (MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE}). "
            "Give one with --classifier."
        )
    return _load(path, cfg, IMAGE_CLASSES)


def _config(
    path: str | Path, config_file: str | None, overrides: Sequence[str], device: str | None
) -> CfgNode:
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such checkpoint.")
    if config_file:
        cfg = read_config(config_file, list(overrides))
    else:
        description = read_description(path)
        try:
            cfg = config_from_description(description)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
        check_size(cfg, path)
        try:
            cfg.merge_from_list(list(overrides))
        except NOT_A_CONFIG as error:
            raise ConfigError(f"overrides {list(overrides)}: {error.args[0]}") from None
    cfg.MODEL.WEIGHTS = str(path)
    cfg.MODEL.DEVICE = _device(device)
    return cfg


def _device(wanted: str | None) -> str:
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(wanted).type
    except RuntimeError:
        raise ConfigError(f"--device {wanted} is no device: expected cpu or cuda.") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"--device {wanted}: there is no GPU here. Use --device cpu.")
    return wanted


def _load(path: str | Path, cfg: CfgNode, usual_classes: Sequence[str]) -> TrainedModel:
    cfg.freeze()
    model = load_trained(cfg).eval()
    description = _description(path)
    count = (
        cfg.MODEL.CLASSIFIER.NUM_CLASSES if is_classifier(cfg) else cfg.MODEL.ROI_HEADS.NUM_CLASSES
    )
    return TrainedModel(
        model=model,
        network=fast_inference(model, cfg),
        cfg=cfg,
        classes=_class_names(description, usual_classes, count),
        path=Path(path),
        weights_sha256=hash_weights(model.state_dict()),
        temperature=_temperature(path, description),
    )


def _class_names(
    description: Mapping[str, str], usual: Sequence[str], count: int
) -> tuple[str, ...]:
    """The checkpoint's names of its classes, or the usual ones, or numbers."""
    names = description_value(description, "class_names") or usual
    if isinstance(names, dict):
        names = names.get("images", usual)
    fit = isinstance(names, Sequence) and all(isinstance(n, str) for n in names)
    if not fit or len(names) != count:
        return tuple(f"class {index + 1}" for index in range(count))
    return tuple(name[:LONGEST_NAME] for name in names)


def _temperature(path: str | Path, description: Mapping[str, str]) -> float:
    """
    Raises:
        CheckpointError: there is one that logits cannot be divided by.
    """
    fitted = description_value(description, "temperature") or {"value": 1.0}
    value = fitted.get("value") if isinstance(fitted, dict) else None
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise CheckpointError(
            f"{path}: its temperature is {str(value)[:80]}, not a number above 0. Fit it again "
            "with tools/calibrate.py."
        )
    return float(value)


def _description(path: str | Path) -> dict[str, str]:
    """The checkpoint's own, or nothing where a config file had to be given."""
    try:
        return read_description(path)
    except UserError:
        return {}
