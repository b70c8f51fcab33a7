"""The stem of a ResNet with its ReLU after the max pooling."""

import torch
from detectron2.modeling.backbone.resnet import BasicStem
from torch import nn
from torch.nn import functional as F


class PoolBeforeReLU(nn.Module):
    """Detectron2's ``BasicStem``; a maximum of ReLUs is the ReLU of the maximum."""

    def __init__(self, plain: BasicStem) -> None:
        super().__init__()
        self.conv1 = plain.conv1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(self.conv1(x), kernel_size=3, stride=2, padding=1)
        return F.relu_(pooled)


def pool_before_relu(model: nn.Module) -> None:
    """Replace the stem of the ResNets inside the model, in place."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is BasicStem:
                setattr(parent, name, PoolBeforeReLU(child))
