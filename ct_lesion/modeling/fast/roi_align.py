"""RoIAlign on a CPU, forward and backward, ten times as fast as Detectron2's.

Detectron2's ``ROIAlign`` calls torchvision's kernel, which reads channels-first maps on one thread.
:class:`FastROIAlign` gives the same numbers with Numba kernels and replaces it in a built model;
:class:`InferenceROIAlign` also reuses memory between calls.

Shapes: N images, C channels, H x W pixels of a map, R regions, P x P bins per region.
"""

import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import nn
from torch.autograd.function import once_differentiable


def numba_is_installed() -> bool:
    """Whether Numba, which compiles the kernels, can be imported."""
    return find_spec("numba") is not None


class FastROIAlign(ROIAlign):
    """Detectron2's ``ROIAlign`` on Numba kernels; it has no parameters and no state.

    It calls Detectron2's implementation on a GPU, in half precision, for bins that are not P x P,
    and while a model is traced or compiled.
    """

    def __init__(self, plain: ROIAlign, channels_last: bool = False) -> None:
        """
        Args:
            plain: the layer to replace.
            channels_last: memory layout of the result: True if a convolution reads it next, False
                if it is flattened.
        """
        super().__init__(
            plain.output_size, plain.spatial_scale, plain.sampling_ratio, plain.aligned
        )
        self.channels_last = channels_last

    def forward(self, input: torch.Tensor, rois: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input: ``(N, C, H, W)``; channels-last memory is fastest.
            rois: ``(R, 5)``: image, x0, y0, x1, y1 in pixels of the network's input.

        Returns:
            ``(R, C, P, P)``.
        """
        if not self._supports(input):
            return super().forward(input, rois)
        return _RoIAlignFunction.apply(input, rois, self)

    def new_output(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised tensor ``(R, C, P, P)`` for the result."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return torch.empty(shape, dtype=dtype, memory_format=layout)

    def _supports(self, features: torch.Tensor) -> bool:
        return (
            features.device.type == "cpu"
            and features.dtype in (torch.float32, torch.float64)
            and self.output_size[0] == self.output_size[1]
            and not torch.jit.is_tracing()
            and not torch.jit.is_scripting()
            and not torch.compiler.is_compiling()
        )


class _RoIAlignFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: torch.Tensor, rois: torch.Tensor, layer: FastROIAlign):
        from .roi_align_kernels import pool  # Numba is optional and takes a second to import

        # double precision, so that rounding moves no sample to a neighbouring pixel
        ctx.rois = rois.detach().double().numpy()
        ctx.layer = layer
        ctx.shape = features.shape
        bins = layer.output_size[0]
        shape = (len(rois), features.shape[1], bins, bins)
        pooled = layer.new_output(shape, features.dtype)
        _over_channels(pool, _bottom_channels(features).contiguous(), ctx, pooled)
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        from .roi_align_kernels import pool_gradient

        total = gradient.new_zeros(ctx.shape).contiguous(memory_format=torch.channels_last)
        _over_channels(pool_gradient, _bottom_channels(gradient), ctx, total)
        return total, None, None


def _bottom_channels(maps: torch.Tensor) -> torch.Tensor:
    """``(N, H, W, C)`` view of ``(N, C, H, W)``."""
    return maps.detach().permute(0, 2, 3, 1)


def _over_channels(kernel: Callable, source: torch.Tensor, ctx, target: torch.Tensor) -> None:
    """Run a kernel on all of torch's threads, each on its share of the channels."""
    layer = ctx.layer
    channels = target.shape[1]
    shares = max(min(torch.get_num_threads(), channels), 1)
    edges = [channels * i // shares for i in range(shares + 1)]
    arrays = source.numpy(), _bottom_channels(target).numpy()

    def run(first: int, last: int) -> None:
        settings = (layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        kernel(arrays[0], ctx.rois, *settings, first, last, arrays[1])

    if shares == 1:
        run(0, channels)
    else:
        list(_threads(shares).map(run, edges[:-1], edges[1:]))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="roi_align")


# threads do not survive a fork
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)


def replace_roi_align(model: nn.Module) -> None:
    """Replace each ``ROIAlign`` in a model's poolers with :class:`FastROIAlign`, in place."""
    for name, module in model.named_modules():
        if isinstance(module, ROIPooler):
            before_convolution = name.endswith("mask_pooler")
            for index, level in enumerate(module.level_poolers):
                if type(level) is ROIAlign:
                    module.level_poolers[index] = FastROIAlign(level, before_convolution)


class RecycledMemory:
    """Reuses one block of memory as soon as no tensor refers to it.

    The 1,000 regions of a slice take 50 MB; allocating and clearing that much for each slice takes
    several times as long as filling it.
    """

    def __init__(self) -> None:
        self._bytes = np.empty(8, np.uint8)  # torch cannot stride an empty array

    def __deepcopy__(self, memo: dict) -> "RecycledMemory":
        return RecycledMemory()

    def __reduce__(self) -> tuple:
        return RecycledMemory, ()

    def channels_last(self, shape: tuple[int, int, int, int], dtype: torch.dtype) -> torch.Tensor:
        """An uninitialised channels-last tensor ``(R, C, H, W)``."""
        regions, channels, height, width = shape
        size = math.prod(shape) * dtype.itemsize
        # the attribute and getrefcount's argument are two references; a live tensor is a third
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
    """Replace each pooler's ``ROIAlign`` with :class:`InferenceROIAlign`, in place.

    Returns:
        False, without a change, if Numba is not installed.
    """
    if not numba_is_installed():
        return False
    for pooler in (m for m in model.modules() if isinstance(m, ROIPooler)):
        for index, level in enumerate(pooler.level_poolers):
            if type(level) in (ROIAlign, FastROIAlign):
                pooler.level_poolers[index] = InferenceROIAlign(level)
    return True
