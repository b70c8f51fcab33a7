"""Models. Importing this package registers them with Detectron2."""

from .anchors import RoundedAnchorGenerator
from .backbone import build_truncated_resnet_fpn_backbone
from .classifier import ClassificationModule
from .fast.inference import fast_inference
from .meta_arch import COVIDCTMaskNet
from .roi_batch import RoIBatch
from .roi_heads import LesionROIHeads

__all__ = [
    "COVIDCTMaskNet",
    "ClassificationModule",
    "LesionROIHeads",
    "RoIBatch",
    "RoundedAnchorGenerator",
    "build_truncated_resnet_fpn_backbone",
    "fast_inference",
]
