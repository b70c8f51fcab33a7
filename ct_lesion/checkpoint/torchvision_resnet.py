"""ImageNet weights as torchvision publishes them: ``torchvision://resnet18``, ``34`` or ``50``."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from torchvision import models

from ct_lesion.errors import CheckpointError, reason

SCHEME = "torchvision://"
# the ImageNet-1k weights of torchvision's reference training, whose recipe all depths share
WEIGHTS = {
    "resnet18": models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet34": models.ResNet34_Weights.IMAGENET1K_V1,
    "resnet50": models.ResNet50_Weights.IMAGENET1K_V1,
}
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


def fetch_torchvision(name: str) -> Path:
    """The file of ``torchvision://<name>``, downloaded into PyTorch's cache if it is not there.

    The hash that is part of its name is checked whether it was downloaded now or before.

    Raises:
        CheckpointError: unknown name, no network, or a file whose hash is not the one in its name.
    """
    model = name.removeprefix(SCHEME).strip("/")
    if model not in WEIGHTS:
        raise CheckpointError(
            f"{SCHEME}{model} is not known: there are {', '.join(SCHEME + m for m in WEIGHTS)}."
        )
    url = WEIGHTS[model].url
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    if not path.is_file():
        _download(url, path)
    check_hash(path)
    return path


def has_hash_in_name(path: Path) -> bool:
    """Whether a file is named as torchvision's ResNets are, e.g. ``resnet18-f37072fd.pth``."""
    return re.fullmatch(r"resnet\d+-[0-9a-f]{8}\.pth", path.name) is not None


def check_hash(path: Path) -> None:
    """Compare a file with the SHA-256 prefix in its name, e.g. ``resnet18-f37072fd.pth``.

    Raises:
        CheckpointError: they differ.
    """
    expected = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if not actual.startswith(expected):
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 begins with {actual[: len(expected)]}, not "
            f"{expected}. Delete it and download it again ({SCHEME}<name> does so by itself)."
        )


def _download(url: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # it downloads to a temporary file, so that several processes may do so at once
        torch.hub.download_url_to_file(url, str(path))
    except OSError as error:  # includes urllib's and socket's errors
        raise CheckpointError(
            f"Cannot download {url} ({reason(error)}): download it elsewhere and place it as "
            f"{path}."
        ) from error


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
