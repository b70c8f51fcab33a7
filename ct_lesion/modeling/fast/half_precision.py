"""Half precision, for a GPU."""

from collections.abc import Sequence

import torch
from detectron2.modeling.poolers import ROIPooler
from torch import nn


class HalfPrecision(nn.Module):
    """Runs a model under autocast: convolutions and matrix products in half precision.

    Regions are pooled in single precision. Detectron2's RoIAlign casts them to the precision of the
    features, and at 512 px half precision knows a border to no better than half a pixel.
    """

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: for inference; its poolers are set up for this, in place.
        """
        super().__init__()
        self.model = model
        self.device_type = next(model.parameters()).device.type
        for pooler in (m for m in model.modules() if isinstance(m, ROIPooler)):
            pooler.register_forward_pre_hook(_single_precision)
        self.eval()

    def forward(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """As the model's."""
        with torch.autocast(self.device_type, dtype=torch.float16):
            return self.model(batched_inputs)


def _single_precision(_: nn.Module, inputs: tuple) -> tuple:
    features, boxes = inputs
    return [level.float() for level in features], boxes
