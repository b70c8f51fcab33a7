"""ResNet + FPN backbones that end before the last stage (paper, Figure 1a)."""

from collections.abc import Iterator

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, build_resnet_backbone
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ct_lesion.config import BASIC_BLOCK_DEPTHS
from ct_lesion.errors import ConfigError

# The stages of a ResNet in order. The paper's full model ends at res5, T1 at res4, T2 at res3.
STAGES = ("res2", "res3", "res4", "res5")

SHORTCUT_NORM = "shortcut.norm"  # the BatchNorm of a ResNet's down-sampling shortcuts


@BACKBONE_REGISTRY.register()
def build_truncated_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build Detectron2's ResNet up to the last stage in use, and an FPN without a pooled level.

    ``MODEL.RESNETS.OUT_FEATURES`` names the stages that the FPN reads: ``["res4"]`` gives one FPN
    level ``p4`` of stride 16 on a ResNet without res5.

    Raises:
        ConfigError: keys disagree, see :func:`check_feature_keys`.
    """
    check_feature_keys(cfg)
    return FPN(
        bottom_up=build_resnet_backbone(cfg, input_shape),
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def check_feature_keys(cfg: CfgNode) -> None:
    """Check that the keys that depend on the ResNet's depth and last stage agree.

    Raises:
        ConfigError: lists every disagreement with the key, its value and the expected value.
    """
    out_features = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    unknown = [name for name in out_features if name not in STAGES]
    if unknown or not out_features:
        raise ConfigError(
            f"MODEL.RESNETS.OUT_FEATURES is {out_features}: it must name one or more of "
            f"{', '.join(STAGES)}."
        )
    levels = [name.replace("res", "p") for name in out_features]
    expected = {
        "MODEL.FPN.IN_FEATURES": out_features,
        "MODEL.RPN.IN_FEATURES": levels,
        "MODEL.ROI_HEADS.IN_FEATURES": levels,
        "MODEL.RESNETS.RES2_OUT_CHANNELS": (
            64 if cfg.MODEL.RESNETS.DEPTH in BASIC_BLOCK_DEPTHS else 256
        ),
    }
    problems = [
        f"{key} is {actual}, expected {wanted}"
        for key, wanted in expected.items()
        if (actual := _value(cfg, key)) != wanted
    ]
    problems += _anchor_problems(cfg, len(levels))
    if problems:
        raise ConfigError(
            f"These keys do not agree with MODEL.RESNETS.DEPTH = {cfg.MODEL.RESNETS.DEPTH} and "
            f"MODEL.RESNETS.OUT_FEATURES = {out_features}: {'; '.join(problems)}."
        )


def _value(cfg: CfgNode, key: str) -> object:
    value = cfg
    for part in key.split("."):
        value = value[part]
    return list(value) if isinstance(value, (list, tuple)) else value


def _anchor_problems(cfg: CfgNode, num_levels: int) -> list[str]:
    """Check that there is one list of anchors per level, or a single list for all levels."""
    return [
        f"MODEL.ANCHOR_GENERATOR.{key} has {len(lists)} lists, expected 1 or {num_levels}"
        for key in ("SIZES", "ASPECT_RATIOS")
        if len(lists := cfg.MODEL.ANCHOR_GENERATOR[key]) not in (1, num_levels)
    ]


def main_path_batchnorms(backbone: nn.Module) -> Iterator[nn.Module]:
    """The BatchNorm layers of a backbone except those of the down-sampling shortcuts."""
    for name, module in backbone.named_modules():
        if isinstance(module, _BatchNorm) and not name.endswith(SHORTCUT_NORM):
            yield module
