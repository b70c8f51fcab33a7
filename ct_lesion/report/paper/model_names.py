"""The paper's name of a model, from its config: ``ResNet18_T1+FPN``."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import PurePath

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ct_lesion.config import BASIC_BLOCK_DEPTHS, is_classifier, load_config
from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.backbone import STAGES

# the paper's truncations by the last stage that is kept (Figure 1a)
TRUNCATIONS = {"res5": "", "res4": "_T1", "res3": "_T2"}
BASELINE_DEPTH = 50  # only for this depth does the paper distinguish merged and separate masks
MASKS = {"merge": "merged masks", "both": "separate masks", "ggo": "GGO masks"}


def model_name(cfg: CfgNode, region_classes: Sequence[str] | None = None) -> str:
    """Name of a model: the paper's, followed by the parts that differ from the paper's model.

    ``ResNet34_T1+FPN``, ``ResNet50+FPN (merged masks)``, ``ResNet18_T1+FPN (GGO masks)``,
    ``ResNet18_T1+FPN, 12 anchors per location``.

    Args:
        cfg: config of a segmentation model or a classifier.
        region_classes: names of the lesion classes; default: those of the training data. The
            config of a classifier tells only their number and the folder of its weights.
    """
    return ", ".join([paper_row(cfg, region_classes), *_differences(cfg)])


def paper_row(cfg: CfgNode, region_classes: Sequence[str] | None = None) -> str:
    """The part of :func:`model_name` that identifies a row of the paper: backbone and masks."""
    masks = _masks(cfg, region_classes)
    usual = MASKS["merge"]
    if masks == usual and cfg.MODEL.RESNETS.DEPTH != BASELINE_DEPTH:
        return backbone_name(cfg)  # all lightweight models use merged masks
    return f"{backbone_name(cfg)} ({masks})"


def backbone_name(cfg: CfgNode) -> str:
    """``ResNet18_T1+FPN``, or a description of a backbone that the paper does not have."""
    depth, stages = cfg.MODEL.RESNETS.DEPTH, list(cfg.MODEL.RESNETS.OUT_FEATURES)
    if not cfg.MODEL.BACKBONE.NAME.endswith("resnet_fpn_backbone"):
        return cfg.MODEL.BACKBONE.NAME
    if depth in BASIC_BLOCK_DEPTHS and len(stages) == 1 and stages[0] in TRUNCATIONS:
        return f"ResNet{depth}{TRUNCATIONS[stages[0]]}+FPN"
    if depth not in BASIC_BLOCK_DEPTHS and stages == list(STAGES):
        return f"ResNet{depth}+FPN"
    return f"ResNet{depth}+FPN on {' '.join(stages)}"


def _masks(cfg: CfgNode, region_classes: Sequence[str] | None) -> str:
    """How lesion masks become classes; a single class that is not GGO means merged masks."""
    classes = _segmentation_classes(cfg) if region_classes is None else tuple(region_classes)
    if not classes and PurePath(cfg.MODEL.WEIGHTS).parent.name.endswith("_ggo"):
        classes = tuple(MASK_TYPES["ggo"].classes)
    for key, mask_type in MASK_TYPES.items():
        if classes == tuple(mask_type.classes):
            return MASKS[key]
    if len(classes) > 1:
        return f"masks of {', '.join(classes)}"
    number = cfg.MODEL.ROI_HEADS.NUM_CLASSES
    return {1: MASKS["merge"], 2: MASKS["both"]}.get(number, f"masks of {number} classes")


def _segmentation_classes(cfg: CfgNode) -> tuple[str, ...]:
    """Lesion classes of a segmentation model's training data; empty if unknown."""
    if is_classifier(cfg):
        return ()
    if not cfg.DATASETS.TRAIN:
        return ()
    return tuple(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes") or ())


# ---- differences from the paper's model ---------------------------------------------------------
def _anchors(cfg: CfgNode) -> str:
    generator = cfg.MODEL.ANCHOR_GENERATOR
    return f"{len(generator.SIZES[0]) * len(generator.ASPECT_RATIOS[0])} anchors per location"


# Descriptions of the parts of the network that a config can change.
PARTS: tuple[Callable[[CfgNode], str], ...] = (
    lambda cfg: f"{cfg.MODEL.FPN.OUT_CHANNELS} FPN maps",
    _anchors,
    lambda cfg: "box head {NUM_FC} x {FC_DIM}".format(**cfg.MODEL.ROI_BOX_HEAD),
)
SEGMENTATION_PARTS: tuple[Callable[[CfgNode], str], ...] = (
    lambda cfg: (
        f"mask head {cfg.MODEL.ROI_MASK_HEAD.NUM_CONV} x {cfg.MODEL.ROI_MASK_HEAD.CONV_DIM}"
    ),
)
CLASSIFIER_PARTS: tuple[Callable[[CfgNode], str], ...] = (
    lambda cfg: f"{cfg.MODEL.ROI_BATCH.SIZE} RoIs",
    lambda cfg: f"RoI {cfg.MODEL.ROI_BATCH.CONTENT}",
    lambda cfg: f"S of width {cfg.MODEL.CLASSIFIER.WIDTH}",
)


def _differences(cfg: CfgNode) -> list[str]:
    """Differences from the shipped config of the paper's model on this backbone, in words."""
    parts = (*PARTS, *(CLASSIFIER_PARTS if is_classifier(cfg) else SEGMENTATION_PARTS))
    shipped = _paper_parts(backbone_name(cfg), is_classifier(cfg))
    own = [part(cfg) for part in parts] if shipped else []
    return [text for text, usual in zip(own, shipped, strict=True) if text != usual]


@cache
def _paper_parts(backbone: str, classifier: bool) -> tuple[str, ...]:
    """The parts of the shipped config of this backbone; empty without such a config."""
    folder = "classification" if classifier else "segmentation"
    try:
        cfg = load_config(f"{folder}/{backbone.removesuffix('+FPN').lower()}.yaml")
    except ConfigError:
        return ()
    parts = (*PARTS, *(CLASSIFIER_PARTS if classifier else SEGMENTATION_PARTS))
    return tuple(part(cfg) for part in parts)
