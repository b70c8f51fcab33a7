"""ImageNet weights as torchvision publishes them: ``torchvision://resnet18``, ``34`` or ``50``."""

import hashlib
import re
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
