"""Converts checkpoints of the published implementation.

The network is recognised by the shapes of its weights. Weights get Detectron2's names, and class
outputs are reordered as in Detectron2, where the background is last.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ct_lesion.config import BASIC_BLOCK_DEPTHS, get_config_file, load_config
from ct_lesion.errors import CheckpointError, ConfigError

from .compatibility import check_compatible, get_key, keys_from_shapes
from .finite import refuse_not_finite, require_floats
from .load_report import group_names, is_important
from .restricted_pickle import StandIn
from .torch_files import damaged, read_torch_file
from .torchvision_resnet import from_torchvision
from .weight_files import RELEASED_CLASS, RELEASED_WEIGHTS_KEY, Checkpoint, require_file

LAST_STAGES = {"res5": "", "res4": "_t1", "res3": "_t2"}  # endings of the shipped configs' names
# for segmentation models of GGO and consolidation without a shipped *_both.yaml
TWO_CLASS_DATASETS = {
    "DATASETS.TRAIN": ["cncb_ggo_consolidation_train"],
    "DATASETS.TEST": ["cncb_ggo_consolidation_val"],
}
BOX_CODES = 4  # dx, dy, dw, dh

# Current torchvision wraps convolutions in blocks: inner_blocks.0 of version 0.3 became
# inner_blocks.0.0.
_RULES = (
    (r"rpn\.head\.conv\.(0\.0\.)?", "proposal_generator.rpn_head.conv."),
    (r"rpn\.head\.cls_logits\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"rpn\.head\.bbox_pred\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"roi_heads\.box_head\.fc6\.", "roi_heads.box_head.fc1."),
    (r"roi_heads\.box_head\.fc7\.", "roi_heads.box_head.fc2."),
    (r"roi_heads\.box_predictor\.(cls_score|bbox_pred)\.", r"roi_heads.box_predictor.\1."),
    (r"roi_heads\.mask_head\.(mask_fcn\d)\.", r"roi_heads.mask_head.\1."),
    (r"roi_heads\.mask_head\.(\d)\.0\.", lambda m: f"roi_heads.mask_head.mask_fcn{int(m[1]) + 1}."),
    (r"roi_heads\.mask_predictor\.conv5_mask\.", "roi_heads.mask_head.deconv."),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.", "roi_heads.mask_head.predictor."),
    (r"s2new\.fc_scores\.", "classifier.fc1."),
    (r"s2new\.fc_scores_2\.", "classifier.fc2."),
    (r"s2new\.fc_scores_img\.", "classifier.logits."),
)
_FPN_BLOCK = re.compile(r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(?:0\.)?(weight|bias)")


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """Content of a published checkpoint.

    Attributes:
        path: path of the file.
        weights: the state dict, with the published names.
        anchor_sizes, anchor_ratios: anchors of one level; empty if the file does not record them.
        epoch, model_name: as recorded in the file; may be empty.
    """

    path: Path
    weights: dict[str, torch.Tensor]
    anchor_sizes: tuple[float, ...] = ()
    anchor_ratios: tuple[float, ...] = ()
    epoch: str = ""
    model_name: str = ""


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """A published checkpoint with Detectron2's names.

    Attributes:
        model: the state dict.
        config_name: the recognised or given config.
        overrides: alternating keys and values that differ from this config, inferred from the
            shapes.
        cfg: the config with these overrides.
        unused: names of tensors in the file that the model does not have.
    """

    model: dict[str, torch.Tensor]
    config_name: str
    overrides: list[Any]
    cfg: CfgNode
    unused: list[str] = field(default_factory=list)

    @property
    def is_classifier(self) -> bool:
        """Whether it contains module S."""
        return "classifier.fc1.weight" in self.model

    @property
    def num_parameters(self) -> int:
        """Number of weights without BatchNorm's statistics."""
        statistics = ("running_mean", "running_var", "num_batches_tracked")
        return sum(t.numel() for name, t in self.model.items() if not name.endswith(statistics))


def read_released(path: str | Path) -> ReleasedCheckpoint:
    """Read a published checkpoint without executing code in it; optimizer states are ignored.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind, a weight is NaN, infinite
            or not a float, or the pickle contains more than tensors, plain containers and the
            anchor generator.
    """
    path = Path(path)
    require_file(path, "Give the path of a published .pth file.")
    content = read_torch_file(path, foreign_class=RELEASED_CLASS)
    weights = content.get(RELEASED_WEIGHTS_KEY) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(
            f"{path} is not a checkpoint of the published implementation: it has no "
            f"'{RELEASED_WEIGHTS_KEY}'. Detectron2's checkpoints need no conversion."
        )
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise damaged(path, f"its entry {str(name)[:80]} is not a tensor")
    try:
        require_floats(weights)
    except ValueError as error:
        raise damaged(path, str(error)) from None
    refuse_not_finite(path, weights)
    anchors = content.get("anchor_generator")
    return ReleasedCheckpoint(
        path=path,
        weights=weights,
        anchor_sizes=_first_level(anchors, "sizes"),
        anchor_ratios=_first_level(anchors, "aspect_ratios"),
        epoch=_text(content.get("epoch")),
        model_name=_text(content.get("model_name")),
    )


def convert_released(
    released: ReleasedCheckpoint, config_file: str | None = None
) -> ConvertedCheckpoint:
    """Rename a published checkpoint's weights and find the config of their model.

    Args:
        released: from :func:`read_released`.
        config_file: path or name of a config to use instead of the recognised one.

    Raises:
        CheckpointError: weights are missing, belong to an unknown network or do not fit
            ``config_file``.
    """
    model, unused = rename_released(released.weights)
    keys = _recognise(released, model)
    keys |= _anchor_keys(released, model)
    if config_file:
        name, overrides = config_file, []
        cfg = load_config(name)
        check_compatible(cfg, Checkpoint(released.path, model), strict=True)
    else:
        name = _shipped_config(keys)
        cfg = load_config(name)
        overrides = [x for k, v in keys.items() if _plain(get_key(cfg, k)) != v for x in (k, v)]
        cfg.merge_from_list(overrides)
    cfg.MODEL.WEIGHTS = ""  # the config's weights for the start of training do not apply
    _check_complete(released, model, cfg)
    return ConvertedCheckpoint(model, name, overrides, cfg, unused)


def _check_complete(
    released: ReleasedCheckpoint, model: dict[str, torch.Tensor], cfg: CfgNode
) -> None:
    """Compare names and shapes with those of the config's model."""
    cfg = cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    expected = {n: t.shape for n, t in build_model(cfg).state_dict().items() if is_important(n)}
    missing = [name for name in expected if name not in model]
    misshapen = [n for n, shape in expected.items() if n in model and model[n].shape != shape]
    surplus = [name for name in model if name not in expected and is_important(name)]
    problems = {"lacks": missing, "has another shape of": misshapen, "also has": surplus}
    lines = [f"{what} {group_names(names)}" for what, names in problems.items() if names]
    if lines:
        raise CheckpointError(
            f"{released.path} does not fit the model of its config: it {'; it '.join(lines)}. "
            "Copy or download the file again, or give another --config-file."
        )


def _recognise(released: ReleasedCheckpoint, model: dict[str, torch.Tensor]) -> dict[str, Any]:
    keys = keys_from_shapes(model)
    needed = {
        "MODEL.RESNETS.DEPTH": "a ResNet18, 34 or 50",
        "MODEL.RESNETS.OUT_FEATURES": "an FPN on it",
        "MODEL.ROI_HEADS.NUM_CLASSES": "a box predictor",
    }
    lacking = [what for key, what in needed.items() if key not in keys]
    heads = ("roi_heads.mask_head.predictor.weight", "classifier.logits.weight")
    if not any(head in model for head in heads):
        lacking.append("a mask predictor or a classifier")
    if lacking:
        raise CheckpointError(
            f"{released.path} is not a published segmentation or classification checkpoint: it "
            f"lacks {' and '.join(lacking)}. Choose another file."
        )
    stages = keys["MODEL.RESNETS.OUT_FEATURES"]
    levels = [stage.replace("res", "p") for stage in stages]
    keys["MODEL.FPN.IN_FEATURES"] = stages
    keys["MODEL.RPN.IN_FEATURES"] = levels
    keys["MODEL.ROI_HEADS.IN_FEATURES"] = levels
    if keys["MODEL.ROI_HEADS.NUM_CLASSES"] == 2 and "MODEL.ROI_BATCH.SIZE" not in keys:
        keys |= TWO_CLASS_DATASETS
    return keys


def _anchor_keys(released: ReleasedCheckpoint, model: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Config keys of the recorded anchors, if any.

    Raises:
        CheckpointError: the RPN has another number of anchors.
    """
    sizes, ratios = released.anchor_sizes, released.anchor_ratios
    if not sizes or not ratios:
        return {}
    logits = model.get("proposal_generator.rpn_head.objectness_logits.weight")
    if logits is None or len(logits) != len(sizes) * len(ratios):
        raise CheckpointError(
            f"{released.path} is damaged: its anchor generator has {len(sizes)} x {len(ratios)} "
            f"anchors per location, its RPN {0 if logits is None else len(logits)}. Copy or "
            "download the file again."
        )
    return {
        "MODEL.ANCHOR_GENERATOR.SIZES": [list(sizes)],
        "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [list(ratios)],
    }


def _shipped_config(keys: Mapping[str, Any]) -> str:
    """Name of the most similar shipped config; values that differ become overrides."""
    depth = keys["MODEL.RESNETS.DEPTH"]
    last_stage = keys["MODEL.RESNETS.OUT_FEATURES"][-1]
    folder = "classification" if "MODEL.ROI_BATCH.SIZE" in keys else "segmentation"
    truncation = LAST_STAGES.get(last_stage, "") if depth in BASIC_BLOCK_DEPTHS else ""
    stem = f"{folder}/resnet{depth}{truncation}"
    two_classes = keys["MODEL.ROI_HEADS.NUM_CLASSES"] == 2
    for name in ([f"{stem}_both.yaml"] if two_classes else []) + [f"{stem}.yaml"]:
        try:
            get_config_file(name)
        except ConfigError:
            continue
        return name
    raise CheckpointError(
        f"No shipped config has a ResNet{depth} that ends at {last_stage}. Write a config and give "
        "it with --config-file."
    )


def _first_level(anchors: Any, attribute: str) -> tuple[float, ...]:
    """Anchor sizes or ratios of the first level; all levels have the same. Empty if invalid."""
    levels = anchors.attributes.get(attribute) if isinstance(anchors, StandIn) else None
    if not isinstance(levels, (tuple, list)) or not levels:
        return ()
    first = levels[0]
    if not isinstance(first, (tuple, list)) or not all(type(x) in (int, float) for x in first):
        return ()
    return tuple(first)


def _text(value: Any) -> str:
    return str(value)[:80] if isinstance(value, (str, int, float)) else ""


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def rename_released(
    weights: Mapping[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Convert a published state dict to Detectron2's names and order of classes.

    Returns:
        The state dict, and the published names without an equivalent.
    """
    levels = _fpn_levels(weights)
    model, unused = {}, []
    for name, tensor in weights.items():
        renamed = _new_name(name, levels)
        if renamed:
            model[renamed] = _in_detectron2_order(renamed, tensor)
        else:
            unused.append(name)
    return model, unused


def _new_name(name: str, levels: Sequence[int]) -> str | None:
    if name.startswith("backbone.body."):
        return f"backbone.bottom_up.{from_torchvision(name.removeprefix('backbone.body.'))}"
    if match := _FPN_BLOCK.fullmatch(name):
        kind = "lateral" if match[1] == "inner" else "output"
        index = int(match[2])
        return f"backbone.fpn_{kind}{levels[index]}.{match[3]}" if index < len(levels) else None
    for pattern, replacement in _RULES:
        renamed, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            return renamed
    return None


def _fpn_levels(names: Mapping[str, Any]) -> list[int]:
    """ResNet stage of each FPN level, finest first; the FPN is on the last stages."""
    layers = {int(m[1]) for n in names if (m := re.match(r"backbone\.body\.layer(\d)\.", n))}
    stages = [layer + 1 for layer in sorted(layers)]
    blocks = [match for name in names if (match := _FPN_BLOCK.fullmatch(name))]
    count = sum(match[1] == "inner" and match[3] == "weight" for match in blocks)
    return stages[len(stages) - count :] if 0 < count <= len(stages) else []


def _in_detectron2_order(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Reorder class outputs, in which the background is first, as in Detectron2."""
    if tensor.dim() == 0:  # invalid; reported later by its shape
        return tensor
    if name.startswith("roi_heads.box_predictor.cls_score."):
        return tensor.roll(-1, dims=0)
    if name.startswith("roi_heads.box_predictor.bbox_pred."):
        return tensor[BOX_CODES:].clone()
    if name.startswith("roi_heads.mask_head.predictor."):
        return tensor[1:].clone()
    return tensor
