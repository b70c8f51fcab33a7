"""RoIAlign for inference: channels-last, into memory that is used again.

The 1,000 regions of a slice are 50 MB. To have the system hand out and clear that much for each
slice takes several times as long as to fill it.
"""

import math
import sys

import numpy as np
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import nn

from .roi_align import FastROIAlign, numba_is_installed


class RecycledMemory:
    """Gives out the same memory again as soon as nobody holds what was made of it."""

    def __init__(self) -> None:
        self._bytes = np.empty(8, np.uint8)  # torch gives an empty array no stride

    def __deepcopy__(self, memo: dict) -> "RecycledMemory":
        return RecycledMemory()

    def __reduce__(self) -> tuple:
        return RecycledMemory, ()

    def channels_last(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> torch.Tensor:
        """A tensor ``(R, C, H, W)``, channels-last, not filled."""
        regions, channels, height, width = shape
        size = math.prod(shape) * dtype.itemsize
        # held by the attribute and by getrefcount's argument; a tensor of it holds it as well
        if len(self._bytes) < size or sys.getrefcount(self._bytes) > 2:
            self._bytes = np.empty(size, np.uint8)
        values = torch.from_numpy(self._bytes)[:size].view(dtype)
        return values.view(regions, height, width, channels).permute(0, 3, 1, 2)


class InferenceROIAlign(FastROIAlign):
    """:class:`FastROIAlign` whose result is channels-last, in recycled memory."""

    def __init__(self, plain: ROIAlign) -> None:
        super().__init__(plain, channels_last=True)
        self._memory = RecycledMemory()

    def new_output(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return self._memory.channels_last(shape, dtype)


def use_inference_poolers(model: nn.Module) -> bool:
    """Replace the ``ROIAlign`` of each pooler, in place. Returns whether Numba is there for it."""
    if not numba_is_installed():
        return False
    for pooler in (m for m in model.modules() if isinstance(m, ROIPooler)):
        for index, level in enumerate(pooler.level_poolers):
            if type(level) in (ROIAlign, FastROIAlign):
                pooler.level_poolers[index] = InferenceROIAlign(level)
    return True
