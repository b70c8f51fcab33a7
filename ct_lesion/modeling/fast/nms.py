"""NMS on a CPU with torchvision's results in a fraction of its time.

torchvision's kernel compares one pair of boxes at a time. The loop here runs over arrays of
coordinates, and Numba compiles it to compare sixteen pairs at a time.

Shapes: M boxes.
"""

from functools import cache

import torch
from detectron2.layers import batched_nms

from .roi_align import numba_is_installed

MOST_NUMBERS = 4000
"""Above 4,000 coordinates torchvision loops over classes and orders ties differently."""


def fast_batched_nms(
    boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, threshold: float
) -> torch.Tensor:
    """Detectron2's ``batched_nms``: indices of the kept boxes, in decreasing score.

    It calls Detectron2's implementation on a GPU, without Numba, and above ``MOST_NUMBERS``.

    Args:
        boxes: ``(M, 4)``, x0, y0, x1, y1.
        scores: ``(M,)``.
        classes: ``(M,)``; only boxes of one class suppress each other.
        threshold: IoU above which the lower-scored of two boxes is dropped.
    """
    usable = boxes.device.type == "cpu" and 0 < boxes.numel() <= MOST_NUMBERS
    if not usable or not numba_is_installed():
        return batched_nms(boxes, scores, classes, threshold)
    boxes = boxes.detach().float()
    # as in torchvision: an offset per class keeps boxes of different classes apart
    offsets = classes.to(boxes) * (boxes.max() + torch.ones((), dtype=boxes.dtype))
    order = scores.detach().sort(descending=True, stable=True).indices
    sides = (boxes + offsets[:, None])[order].t().contiguous().numpy()
    return order[torch.from_numpy(_kernel()(*sides, threshold))]


@cache
def _kernel():
    """Compile the loop on first use, because Numba is optional and takes a second to import."""
    import numba
    import numpy as np

    # division as in C: the IoU of boxes without area is NaN, and they are kept
    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def keep(x0, y0, x1, y1, threshold):
        count = len(x0)
        area = (x1 - x0) * (y1 - y0)
        suppressed = np.zeros(count, np.bool_)
        kept = np.empty(count, np.int64)
        found = 0
        zero = np.float32(0)
        for i in range(count):
            if suppressed[i]:
                continue
            kept[found] = i
            found += 1
            for j in range(i + 1, count):
                width = max(zero, min(x1[i], x1[j]) - max(x0[i], x0[j]))
                height = max(zero, min(y1[i], y1[j]) - max(y0[i], y0[j]))
                shared = width * height
                suppressed[j] |= shared / (area[i] + area[j] - shared) > threshold
        return kept[:found]

    return keep
