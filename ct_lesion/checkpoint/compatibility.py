"""Checks that a checkpoint fits a model, before it is loaded."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ct_lesion.config import is_classifier
from ct_lesion.errors import CheckpointError, reason

from .description import config_from_description
from .load_report import LoadReport, group_names
from .torchvision_resnet import from_torchvision, is_torchvision_resnet, resnet_depth, resnet_prefix
from .weight_files import Checkpoint

DETECTOR_MODULES = ("backbone.", "proposal_generator.", "roi_heads.")
ROI_BATCH_ROW = 5  # numbers per region in the classifier's input

DEPTH_KEY = "MODEL.RESNETS.DEPTH"
# Keys that change a detector's results but not the shapes of its weights. A detector in training
# adapts to other values; the frozen detector of a classifier cannot.
KEYS_WITHOUT_SHAPE = (
    "INPUT.FORMAT",
    "MODEL.PIXEL_MEAN",
    "MODEL.PIXEL_STD",
    "MODEL.RESNETS.STRIDE_IN_1X1",
    "MODEL.ANCHOR_GENERATOR.NAME",
    "MODEL.ANCHOR_GENERATOR.SIZES",
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS",
    "MODEL.ANCHOR_GENERATOR.OFFSET",
    "MODEL.RPN.BBOX_REG_WEIGHTS",
    "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS",
    "MODEL.ROI_BOX_HEAD.POOLER_TYPE",
)


def keys_from_shapes(state_dict: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Infer config values from the shapes of a state dict with Detectron2's names.

    Returns:
        Values by full key, e.g. ``MODEL.RESNETS.DEPTH``, for the modules in the state dict.
    """
    keys: dict[str, Any] = {
        DEPTH_KEY: resnet_depth(state_dict, resnet_prefix(state_dict) or ""),
        "MODEL.RESNETS.OUT_FEATURES": _fpn_stages(state_dict),
    }

    def size(name: str, dim: int) -> int | None:
        tensor = state_dict.get(name)
        return tensor.shape[dim] if tensor is not None and tensor.dim() > dim else None

    num_scores = size("roi_heads.box_predictor.cls_score.weight", 0)
    keys["MODEL.ROI_HEADS.NUM_CLASSES"] = num_scores and num_scores - 1  # minus background
    keys["MODEL.ROI_BOX_HEAD.FC_DIM"] = size("roi_heads.box_head.fc1.weight", 0)
    if mask_convs := _count(state_dict, r"roi_heads\.mask_head\.mask_fcn\d+\.weight"):
        keys["MODEL.ROI_MASK_HEAD.NUM_CONV"] = mask_convs
        keys["MODEL.ROI_MASK_HEAD.CONV_DIM"] = size("roi_heads.mask_head.mask_fcn1.weight", 0)
    num_inputs = size("classifier.fc1.weight", 1)
    keys["MODEL.ROI_BATCH.SIZE"] = num_inputs and num_inputs // ROI_BATCH_ROW
    keys["MODEL.CLASSIFIER.WIDTH"] = size("classifier.fc1.weight", 0)
    keys["MODEL.CLASSIFIER.NUM_CLASSES"] = size("classifier.logits.weight", 0)
    return {key: value for key, value in keys.items() if value is not None}


def check_compatible(cfg: CfgNode, checkpoint: Checkpoint, *, strict: bool | None = None) -> None:
    """Compare a config with the shapes in a checkpoint and with its description, if it has one.

    Args:
        cfg: config of the model that will load the checkpoint.
        checkpoint: from :func:`read_checkpoint`.
        strict: compare all keys that the detector's results depend on; otherwise only the depth of
            the backbone, because training may start from parts of another model. Default: strict
            for a classifier, whose detector is frozen.

    Raises:
        CheckpointError: lists each key that differs, with both values.
    """
    if strict is None:
        strict = is_classifier(cfg)
    theirs = keys_from_shapes(_detectron2_names(checkpoint.model))
    if not cfg.MODEL.MASK_ON:
        theirs = {k: v for k, v in theirs.items() if not k.startswith("MODEL.ROI_MASK_HEAD")}
    if not is_classifier(cfg):
        of_classifier = ("MODEL.ROI_BATCH", "MODEL.CLASSIFIER")
        theirs = {k: v for k, v in theirs.items() if not k.startswith(of_classifier)}
    if not strict:
        theirs = {k: v for k, v in theirs.items() if k == DEPTH_KEY}
    elif checkpoint.description and "config" in checkpoint.description:
        described = config_from_description(checkpoint.description)
        theirs |= {key: get_key(described, key) for key in KEYS_WITHOUT_SHAPE}
    problems = [
        f"{key} is {get_key(cfg, key)} here and {value} in the checkpoint"
        for key, value in theirs.items()
        if not same_value(get_key(cfg, key), value)
    ]
    if problems:
        raise CheckpointError(
            f"{checkpoint.path} does not fit this model: {'; '.join(problems)}. Set these keys to "
            "the checkpoint's values, or choose another checkpoint in MODEL.WEIGHTS."
        )


def check_size(cfg: CfgNode, path: str | Path) -> None:
    """Refuse a checkpoint if the model of its config has more weights than the file has bytes.

    Args:
        cfg: from the checkpoint's description.
        path: path of the checkpoint.

    Raises:
        CheckpointError: the file is too small, or no model can be built from the config.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"  # tensors without storage
    try:
        with torch.device("meta"):
            needed = sum(t.numel() for t in build_model(cfg).state_dict().values())
    except Exception as error:  # any invalid value can make any module fail
        raise CheckpointError(
            f"{path}: no model can be built from its config ({type(error).__name__}: "
            f"{reason(error)}). Give the config that it was trained with."
        ) from error
    size = Path(path).stat().st_size
    if needed > size:  # each weight takes at least one byte
        raise CheckpointError(
            f"{path} has {size:,} bytes, but the model of its config has {needed:,} weights. Copy "
            "or download the file again."
        )


def require_detector(cfg: CfgNode, report: LoadReport | None) -> None:
    """Check that a classifier's detector was loaded completely; module S may be untrained.

    Args:
        cfg: config of the model; only classifiers are checked.
        report: on the loaded weights; ``None`` if ``MODEL.WEIGHTS`` was empty.

    Raises:
        CheckpointError: a part of the detector was not loaded.
    """
    if not is_classifier(cfg):
        return
    found = {m for m in DETECTOR_MODULES if report and _starting(report.loaded, m)}
    fresh = [n for m in DETECTOR_MODULES for n in _starting(report.fresh if report else [], m)]
    if len(found) == len(DETECTOR_MODULES) and not fresh:
        return
    lacks = group_names(fresh) if fresh else "the whole detector"
    what = f"{report.path} lacks {lacks}" if report else "MODEL.WEIGHTS is empty"
    raise CheckpointError(
        f"The classifier cannot be trained from scratch, because its detector is frozen: {what}. "
        "Set MODEL.WEIGHTS to a trained segmentation model."
    )


def get_key(cfg: CfgNode, key: str) -> Any:
    """A config's value by its full key, e.g. ``MODEL.RESNETS.DEPTH``."""
    value: Any = cfg
    for part in key.split("."):
        value = value[part]
    return value


def _detectron2_names(model: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    if not is_torchvision_resnet(model):
        return model
    return {f"backbone.bottom_up.{from_torchvision(name)}": t for name, t in model.items()}


def _fpn_stages(names: Iterable[str]) -> list[str] | None:
    found = (re.match(r"backbone\.fpn_lateral(\d)\.weight$", name) for name in names)
    return sorted(f"res{match[1]}" for match in found if match) or None


def _count(names: Iterable[str], pattern: str) -> int:
    return sum(bool(re.fullmatch(pattern, name)) for name in names)


def _starting(names: Iterable[str], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def same_value(ours: Any, theirs: Any) -> bool:
    """Whether two values of a key are equal; a list equals a tuple of the same items."""
    if isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)):
        return len(ours) == len(theirs) and all(map(same_value, ours, theirs))
    return ours == theirs
