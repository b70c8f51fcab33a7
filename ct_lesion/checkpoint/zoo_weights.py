"""Weights of Detectron2's model zoo: what its ``.pkl`` files hold, under which names."""

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
MOST_MATCHED = 10_000  # names; Detectron2 compares each with each of the model's


def fetch(url: str, paths: PathManager) -> str:
    """The local copy of weights from the network, e.g. ``detectron2://...``; the log names it.

    Args:
        paths: fetches the file into its cache, if it is not there.

    Raises:
        CheckpointError: it cannot be fetched.
    """
    advice = "Download it elsewhere, and give the file in MODEL.WEIGHTS."
    try:
        path = paths.get_local_path(url)
    except Exception as error:  # of any handler, e.g. of the network or of an unknown name
        raise CheckpointError(f"{url}: cannot be fetched ({reason(error)}). {advice}") from error
    if not Path(path).is_file():  # what no handler knows counts as a path
        raise CheckpointError(f"{url}: is not an address of weights. {advice}")
    # a warning is shown by tools that keep no log, too
    logger.warning("Weights of %s are cached as %s", url, path)
    return path


def read_zoo_weights(path: Path) -> tuple[Any, str, bool]:
    """Read a ``.pkl`` by Detectron2's rules: without ``model`` and an author it is Caffe2's.

    Returns:
        The weights by name, Caffe2's renamed as Detectron2 names them; who made them; and whether
        the names lack the model's prefixes, so that :func:`match_names` must complete them.

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
    """Rename weights to the model's names that end alike, e.g. ``backbone.bottom_up.stem...``.

    Returns:
        The weights whose name and shape fit; the others keep their names.

    Raises:
        CheckpointError: the names fit several of the model's, or are too many.
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
    """Compare where a ResNet's bottlenecks have their stride, which no shape shows.

    Caffe2's ResNets of MSRA have it in the 1x1 convolutions, its ResNeXts do not, so that this is
    only a warning.

    Raises:
        CheckpointError: torchvision's weights for a model that has it in the 1x1 convolutions.
    """
    if author == TORCHVISION:
        refuse_stride_in_1x1(path, model)
    elif author == CAFFE2 and resnet_prefix(model.state_dict()) and not has_stride_in_1x1(model):
        logger.warning(
            f"{path} holds Caffe2's weights. If they are a ResNet50 or 101 of MSRA, set "
            "MODEL.RESNETS.STRIDE_IN_1X1 True, and MODEL.PIXEL_MEAN, MODEL.PIXEL_STD and "
            "INPUT.FORMAT as the zoo's configs do."
        )
