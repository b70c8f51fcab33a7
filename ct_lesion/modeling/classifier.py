"""Module S: classifies a slice by its ranked regions (paper, section 3).

Shapes: B images, N RoIs an image, C classes.
"""

import torch
from detectron2.config import CfgNode, configurable
from torch import nn
from torch.nn import functional as F

ROW_LENGTH = 5  # the score and four numbers of geometry


class ClassificationModule(nn.Module):
    """S: two hidden layers map the flattened RoI batch to class logits."""

    @configurable
    def __init__(self, *, num_rois: int = 128, width: int = 512, num_classes: int = 3) -> None:
        """
        Args:
            num_rois: N, the number of rows of an RoI batch.
            width: width of the two hidden layers.
            num_classes: C.
        """
        super().__init__()
        self.num_rois = num_rois
        self.num_classes = num_classes
        self.fc1 = nn.Linear(num_rois * ROW_LENGTH, width)
        self.fc2 = nn.Linear(width, width)
        self.logits = nn.Linear(width, num_classes)
        for layer in (self.fc1, self.fc2, self.logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        return {
            "num_rois": cfg.MODEL.ROI_BATCH.SIZE,
            "width": cfg.MODEL.CLASSIFIER.WIDTH,
            "num_classes": cfg.MODEL.CLASSIFIER.NUM_CLASSES,
        }

    def forward(self, roi_batch: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, C)`` of RoI batches ``(B, N, 5)``."""
        if roi_batch.shape[1:] != (self.num_rois, ROW_LENGTH):
            raise ValueError(
                f"The RoI batch of a slice has shape {tuple(roi_batch.shape[1:])}, but "
                f"MODEL.ROI_BATCH.SIZE is {self.num_rois}: expected {(self.num_rois, ROW_LENGTH)}."
            )
        x = F.relu(self.fc1(roi_batch.flatten(start_dim=1)))
        x = F.relu(self.fc2(x))
        return self.logits(x)
