"""Refuses checkpoints with NaN or infinite values, or with weights that are not floats."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ct_lesion.errors import CheckpointError

WEIGHT_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def refuse_not_finite(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Refuse tensors with NaN or infinite values, which are left when training diverges.

    Raises:
        CheckpointError: names the first such tensor.
    """
    broken = {name: count for name, t in tensors.items() if (count := _count_not_finite(t))}
    if broken:
        name, count = next(iter(broken.items()))
        raise CheckpointError(
            f"{path} holds NaN or infinite values in {len(broken)} tensors, e.g. in {name} "
            f"({count} of {tensors[name].numel()} values): training diverged, or the file is "
            "damaged. Use an earlier checkpoint."
        )


def require_floats(weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse types that a model would load silently but that give wrong results.

    Raises:
        ValueError: a weight is complex, boolean, an integer or an 8-bit float. Single integers,
            such as BatchNorm's ``num_batches_tracked``, are allowed.
    """
    for name, tensor in weights.items():
        is_counter = tensor.dim() == 0 and tensor.dtype in (torch.int64, torch.int32)
        if tensor.dtype not in WEIGHT_DTYPES and not is_counter:
            raise ValueError(
                f"the tensor {name[:80]} is of {str(tensor.dtype).removeprefix('torch.')}, but "
                "weights must be floats of at least 16 bits"
            )


def named_tensors(content: Any, name: str = "") -> dict[str, torch.Tensor]:
    """All tensors in a checkpoint's content by name, e.g. ``optimizer.state.0.exp_avg``.

    Args:
        content: tensors in mappings, lists and tuples at any depth.
        name: name of the content, the prefix of the names inside it.
    """
    if isinstance(content, torch.Tensor):
        return {name: content}
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, (list, tuple)):
        items = enumerate(content)
    else:
        return {}
    return {
        found: tensor
        for key, value in items
        for found, tensor in named_tensors(value, f"{name}.{key}" if name else str(key)).items()
    }


def _count_not_finite(tensor: torch.Tensor) -> int:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    if tensor.element_size() == 1:  # 8-bit floats have no isfinite
        tensor = tensor.float()
    finite = torch.isfinite(tensor)
    return 0 if finite.all() else int((~finite).sum())
