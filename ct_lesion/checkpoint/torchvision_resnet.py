"""ImageNet weights of torchvision: ``torchvision://resnet18``, ``resnet34`` and ``resnet50``."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision import models

from ct_lesion.errors import CheckpointError, reason

SCHEME = "torchvision://"
# ImageNet-1k weights of torchvision's reference training, the same recipe for all depths
WEIGHTS = {
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
}
# number of convolutions in a block, and of blocks in res2, res3, res4, res5
DEPTHS = {
    18: (2, (2, 2, 2, 2)),
    34: (2, (3, 4, 6, 3)),
    50: (3, (3, 4, 6, 3)),
    101: (3, (3, 4, 23, 3)),
    152: (3, (3, 8, 36, 3)),
}
# prefixes of a ResNet in a model's state dict: below an FPN, or as the backbone itself
PREFIXES = ("backbone.bottom_up.", "backbone.")

_TORCHVISION_RULES = (
    (r"^conv1\.", "stem.conv1."),
    (r"^bn1\.", "stem.conv1.norm."),
    (r"^layer(\d)\.", lambda match: f"res{int(match[1]) + 1}."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
)


def fetch_torchvision(name: str) -> Path:
    """The file of ``torchvision://<name>`` in PyTorch's cache; it is downloaded if missing.

    The hash in its name is checked in both cases.

    Raises:
        CheckpointError: the name is unknown, the download fails, or the hash differs.
    """
    model = name.removeprefix(SCHEME).strip("/")
    if model not in WEIGHTS:
        raise CheckpointError(
            f"{SCHEME}{model} is unknown. Use {' or '.join(SCHEME + m for m in WEIGHTS)}."
        )
    url = WEIGHTS[model].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        _download(url, path)
    check_hash(path)
    return path


def has_hash_in_name(path: Path) -> bool:
    """Whether a file has a name like torchvision's ResNets, e.g. ``resnet18-f37072fd.pth``."""
    return re.fullmatch(r"resnet\d+-[0-9a-f]{8}\.pth", path.name) is not None


def check_hash(path: Path) -> None:
    """Check the SHA-256 of a file against the prefix in its name, e.g. ``resnet18-f37072fd.pth``.

    Raises:
        CheckpointError: they differ.
    """
    expected = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if not actual.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 begins with {actual[: len(expected)]}, not "
            f"{expected}. Delete it and download it again ({SCHEME}<name> does so automatically)."
        )


def _download(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # this writes a temporary file first, so several processes may download at the same time
        torch.hub.download_url_to_file(url, str(path))
    except OSError as error:  # includes urllib's and socket's errors
        raise CheckpointError(
            f"Cannot download {url} ({reason(error)}): download it elsewhere and save it as {path}."
        ) from error


def is_torchvision_resnet(names: Iterable[str]) -> bool:
    """Whether the names of a state dict are those of torchvision's ResNet."""
    return {"conv1.weight", "bn1.weight", "layer1.0.conv1.weight"} <= set(names)


def from_torchvision(name: str) -> str:
    """Detectron2's name of a parameter of torchvision's ResNet; ``fc.*`` is unchanged.

    >>> from_torchvision("layer2.0.downsample.1.running_mean")
    'res3.0.shortcut.norm.running_mean'
    """
    for pattern, replacement in _TORCHVISION_RULES:
        name = re.sub(pattern, replacement, name)
    return name


def resnet_prefix(names: Iterable[str]) -> str | None:
    """Prefix of ``stem.conv1.weight`` in a Detectron2 state dict; ``None`` without a ResNet."""
    names = set(names)
    return next((p for p in PREFIXES if f"{p}stem.conv1.weight" in names), None)


def resnet_depth(state_dict: Mapping[str, torch.Tensor], prefix: str = "") -> int | None:
    """Depth of a ResNet with Detectron2's names, inferred from its blocks.

    A truncated ResNet has fewer stages than the full one. If its stages fit several depths (50 and
    101 up to res3), the smallest is returned; if they fit none, ``None``.
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


def rename_torchvision(
    path: str, weights: Mapping[str, torch.Tensor], model: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """Rename the weights of torchvision's ResNet for a model with Detectron2's ResNet.

    Args:
        path: path of the weights, for messages.
        weights: torchvision's state dict.
        model: that the weights are for.

    Raises:
        CheckpointError: the model has no Detectron2 ResNet, one of another depth, or one with the
            stride in its 1x1 convolutions.
    """
    state_dict = model.state_dict()
    prefix = resnet_prefix(state_dict)
    if prefix is None:
        raise CheckpointError(
            f"{path} is a ResNet of torchvision, but this model has no Detectron2 ResNet. "
            "Choose other weights in MODEL.WEIGHTS."
        )
    renamed = {from_torchvision(name): tensor for name, tensor in weights.items()}
    ours, theirs = resnet_depth(state_dict, prefix), resnet_depth(renamed)
    if ours != theirs:
        raise CheckpointError(
            f"{path} is {_resnet(theirs)}, but this model's backbone is {_resnet(ours)}. Set "
            "MODEL.RESNETS.DEPTH and MODEL.WEIGHTS to the same depth."
        )
    refuse_stride_in_1x1(path, model)
    return {n if n.startswith("fc.") else f"{prefix}{n}": t for n, t in renamed.items()}


def refuse_stride_in_1x1(path: str, model: torch.nn.Module) -> None:
    """Refuse torchvision's weights if the model has the stride one convolution earlier.

    Raises:
        CheckpointError: the model's ResNet has the stride in its 1x1 convolutions.
    """
    if has_stride_in_1x1(model):
        raise CheckpointError(
            f"{path} is a ResNet of torchvision, which needs MODEL.RESNETS.STRIDE_IN_1X1 False. "
            "Set this key."
        )


def has_stride_in_1x1(model: torch.nn.Module) -> bool:
    """Whether a bottleneck of a model's ResNet has its stride in the first convolution."""
    prefix = resnet_prefix(model.state_dict())
    return prefix is not None and any(
        module.conv1.stride != (1, 1)
        for name, module in model.named_modules()
        if name.startswith(f"{prefix}res") and hasattr(module, "conv3")
    )


def _resnet(depth: int | None) -> str:
    return f"a ResNet{depth}" if depth else "a ResNet of unknown depth"
