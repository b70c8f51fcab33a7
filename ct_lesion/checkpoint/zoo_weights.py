"""Weights of Detectron2's model zoo: contents and names of its ``.pkl`` files."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint.c2_model_loading import (
    align_and_update_state_dicts,
    convert_c2_detectron_names,
)
from iopath.common.file_io import PathManager

from ct_lesion.errors import CheckpointError, reason

from .array_pickle import read_array_pickle
from .torch_files import damaged
from .torchvision_resnet import has_stride_in_1x1, refuse_stride_in_1x1, resnet_prefix

AUTHOR_KEY = "__author__"
CAFFE2, TORCHVISION = "Caffe2", "torchvision"
logger = logging.getLogger(__name__)
MOST_MATCHED = 10_000  # weights; Detectron2 compares each name with each name in the model


def fetch(url: str, paths: PathManager) -> str:
    """Download weights, e.g. ``detectron2://...``, unless they are cached, and log their path.

    Args:
        url: address of the weights.
        paths: downloads files into its cache.

    Returns:
        Path of the local copy.

    Raises:
        CheckpointError: the weights cannot be downloaded.
    """
    advice = "Download it elsewhere, and give the file in MODEL.WEIGHTS."
    try:
        path = paths.get_local_path(url)
    except Exception as error:  # each of Detectron2's handlers raises other types
        raise CheckpointError(f"{url} cannot be fetched ({reason(error)}). {advice}") from error
    if not Path(path).is_file():  # PathManager treats an unknown scheme as a local path
        raise CheckpointError(f"{url} is not a known address of weights. {advice}")
    # a warning, so that tools without a log show it as well
    logger.warning("Weights of %s are cached as %s", url, path)
    return path


def read_zoo_weights(path: Path) -> tuple[Any, str, bool]:
    """Read a ``.pkl`` by Detectron2's rules: a file without ``model`` and author is Caffe2's.

    Returns:
        The weights by Detectron2's names; their author; and whether the names lack the model's
        prefixes, which :func:`match_names` then adds.

    Raises:
        CheckpointError: see :func:`read_array_pickle`; or Caffe2's weights cannot be renamed.
    """
    content = read_array_pickle(path)
    if "model" in content and AUTHOR_KEY in content:
        matching = content.get("matching_heuristics", False) is True
        return content["model"], str(content[AUTHOR_KEY])[:80], matching
    weights = content.get("blobs", content)
    if not isinstance(weights, dict) or not all(
        isinstance(n, str) and isinstance(t, torch.Tensor) for n, t in weights.items()
    ):
        raise damaged(path, "it holds no dict of weights")
    weights = {name: t for name, t in weights.items() if not name.endswith("_momentum")}
    try:
        return convert_c2_detectron_names(weights)[0], CAFFE2, True
    except Exception as error:  # a hostile file may have any names and shapes
        raise damaged(path, "its names are not Caffe2's") from error


def match_names(
    path: Path, weights: Mapping[str, torch.Tensor], model: torch.nn.Module
) -> dict[str, torch.Tensor]:
    """Rename weights to names of the model with the same ending, e.g. ``backbone.bottom_up.*``.

    Args:
        path: path of the weights, for messages.
        weights: names without the model's prefixes.
        model: the model that the weights are for.

    Returns:
        All weights; those without a match in name and shape keep their names.

    Raises:
        CheckpointError: a name matches several of the model's, or there are too many weights.
    """
    if len(weights) > MOST_MATCHED:
        raise damaged(path, f"it holds {len(weights)} weights")
    own = model.state_dict()
    try:
        matched = align_and_update_state_dicts(own, dict(weights), c2_conversion=False)
    except ValueError as error:
        raise damaged(path, str(error)) from error
    used = {id(tensor) for tensor in matched.values()}
    return matched | {name: t for name, t in weights.items() if id(t) not in used}


def check_stride(path: str, author: str, model: torch.nn.Module) -> None:
    """Check the position of the stride in a ResNet's bottlenecks, which shapes do not reveal.

    Caffe2's ResNets of MSRA have it in the 1x1 convolutions, but its ResNeXts do not, so for Caffe2
    this only logs a warning.

    Args:
        path: path of the weights, for messages.
        author: author of the weights, from :func:`read_zoo_weights`.
        model: that the weights are for.

    Raises:
        CheckpointError: the weights are torchvision's, but the model has its stride in the 1x1
            convolutions.
    """
    if author == TORCHVISION:
        refuse_stride_in_1x1(path, model)
    elif author == CAFFE2 and resnet_prefix(model.state_dict()) and not has_stride_in_1x1(model):
        logger.warning(
            f"{path} holds Caffe2's weights. For MSRA's ResNet50 or 101, set "
            "MODEL.RESNETS.STRIDE_IN_1X1 True, and MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and "
            "INPUT.FORMAT as in the zoo's configs."
        )
