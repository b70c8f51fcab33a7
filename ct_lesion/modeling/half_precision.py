"""Half precision on a GPU."""

from collections.abc import Sequence

import torch
from torch import nn


class HalfPrecision(nn.Module):
    """Runs a model under autocast: convolutions and matrix products in half precision."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """As the model's."""
        with torch.autocast("cuda", dtype=torch.float16):
            return self.model(batched_inputs)
