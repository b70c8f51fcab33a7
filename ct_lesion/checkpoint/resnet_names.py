"""One ResNet, two ways to name its parameters: torchvision's and Detectron2's.

Both are the same network (with ``MODEL.RESNETS.STRIDE_IN_1X1: False``), so weights move by renaming
alone. A state dict here is any mapping from names to tensors; only shapes and names are read.
"""

import re
from collections.abc import Iterable, Mapping

import torch

# convolutions in a block, and blocks in res2, res3, res4, res5
DEPTHS = {
    18: (2, (2, 2, 2, 2)),
    34: (2, (3, 4, 6, 3)),
    50: (3, (3, 4, 6, 3)),
    101: (3, (3, 4, 23, 3)),
    152: (3, (3, 8, 36, 3)),
}
# where a ResNet is in a model's state dict: below an FPN, or as the backbone itself
PREFIXES = ("backbone.bottom_up.", "backbone.")

_TORCHVISION_RULES = (
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


def is_torchvision_resnet(names: Iterable[str]) -> bool:
    """Whether the names of a state dict are those of torchvision's ResNet."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= set(names)


def from_torchvision(name: str) -> str:
    """Detectron2's name of a parameter of torchvision's ResNet; ``fc.*`` stays as it is.

    >>> from_torchvision("layer2.0.downsample.1.running_mean")
    'res3.0.shortcut.norm.running_mean'
    """
    for pattern, replacement in _TORCHVISION_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def resnet_prefix(names: Iterable[str]) -> str | None:
    """What stands before ``stem.conv1.weight`` in a Detectron2 state dict, if it has a ResNet."""
    names = set(names)
    return next((p for p in PREFIXES if f"{p}stem.conv1.weight" in names), None)


def resnet_depth(state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> int | None:
    """Depth of a ResNet in Detectron2's names, from the blocks that it has.

    A truncated ResNet has fewer stages than the full one. Where the stages that are left fit more
    than one depth (50 and 101 up to res3), the smaller is returned.
    """
    found = (
        re.match(r"res(\d)\.(\d+)\.conv(\d)\.weight$", n.removeprefix(prefix)) for n in state_dict
    )
    blocks = [tuple(int(x) for x in match.groups()) for match in found if match]
    if not blocks:
        return None
    num_convs = max(conv for _, _, conv in blocks)
    stages = sorted({stage for stage, _, _ in blocks})
    counts = tuple(1 + max(b for s, b, _ in blocks if s == stage) for stage in stages)
    return next(
        (
            depth
            for depth, (convs, full) in DEPTHS.items()
            if convs == num_convs and counts == full[: len(counts)]
        ),
        None,
    )
