"""Models. Importing this package registers them with Detectron2."""

from .anchors import RoundedAnchorGenerator
from .backbone import build_truncated_resnet_fpn_backbone
from .roi_heads import LesionROIHeads

__all__ = [
    "LesionROIHeads",
    "RoundedAnchorGenerator",
    "build_truncated_resnet_fpn_backbone",
]
