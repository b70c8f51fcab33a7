"""Module S: classifies a slice by its ranked regions (paper, section 3).

Shapes: B images, N RoIs per image, C classes.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.utils.events import get_event_storage, has_event_storage
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


def image_labels(batched_inputs: list[dict], num_classes: int) -> torch.Tensor:
    """The labels of a batch: ``(B,)`` int64, 0 to ``num_classes - 1``.

    Raises:
        ValueError: an input has no ``label``, or its label is out of range.
    """
    if any("label" not in item for item in batched_inputs):
        raise ValueError("Training needs the class of each image, but an input has no 'label'.")
    labels = [int(item["label"]) for item in batched_inputs]
    if not all(0 <= label < num_classes for label in labels):
        raise ValueError(
            f"Labels are {labels}, but MODEL.CLASSIFIER.NUM_CLASSES is {num_classes}: "
            f"expected 0 to {num_classes - 1}."
        )
    return torch.tensor(labels)


def classification_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy of logits ``(B, C)`` over images and classes.

    In a training loop it also logs the share of correct classes as ``train_accuracy``.
    """
    if has_event_storage():
        right = (logits.detach().argmax(dim=1) == labels).float().mean().item()
        get_event_storage().put_scalar("classification/train_accuracy", right)
    target = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target)
