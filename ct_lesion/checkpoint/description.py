"""The description in a checkpoint: config, class names, dataset hashes, metrics and versions.

It is a flat dict of strings, because a safetensors header holds only strings: the config is yaml,
other values are JSON.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import detectron2
import torch
from detectron2.config import CfgNode, get_cfg

from ct_lesion.config import NOT_A_CONFIG, add_ct_lesion_config
from ct_lesion.config_values import value_problems
from ct_lesion.errors import CheckpointError, reason
from ct_lesion.version import __version__
from ct_lesion.yaml_files import parse_yaml

FORMAT_VERSION = "1"
LARGEST_JSON = 2**24  # characters
logger = logging.getLogger(__name__)


def describe(
    cfg: CfgNode,
    *,
    class_names: Sequence[str] | Mapping[str, Sequence[str]] = (),
    dataset_hashes: Mapping[str, str] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Describe a model for its checkpoint.

    Args:
        cfg: the config that builds the model.
        class_names: in the order of the model's outputs; for a classifier, which has two lists,
            ``{"regions": [...], "images": [...]}``.
        dataset_hashes: hash of each split that the model was trained or selected on, by name.
        metrics: metrics of the model's last evaluation.

    Returns:
        Strings by key; see the top of this module.
    """
    names = class_names if isinstance(class_names, Mapping) else list(class_names)
    return {
        "format_version": FORMAT_VERSION,
        "config": cfg.dump(),
        "class_names": _to_json(names),
        "dataset_hashes": _to_json(dataset_hashes or {}),
        "metrics": _to_json(metrics or {}),
        "versions": _to_json(library_versions()),
    }


def description_value(description: Mapping[str, str], key: str) -> Any:
    """Parse an entry that holds JSON.

    Args:
        description: description of a checkpoint.
        key: ``class_names``, ``dataset_hashes``, ``metrics``, ``versions``, ``temperature`` or
            ``model``.

    Returns:
        The value; ``None`` if the description does not have the key.

    Raises:
        CheckpointError: the entry is not JSON.
    """
    if key not in description:
        return None
    try:
        if len(description[key]) > LARGEST_JSON:
            raise ValueError("too long")
        return json.loads(description[key])
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"The checkpoint's description is damaged: {key} is not JSON. Copy or download the "
            "file again."
        ) from error


def config_from_description(description: Mapping[str, str]) -> CfgNode:
    """The config in a description, merged into the defaults of Detectron2 and ct_lesion.

    Unknown keys, e.g. from a newer version, are dropped with a warning.

    Raises:
        CheckpointError: there is no config, it is not yaml, or a value has a wrong type or is out
            of range (see :mod:`ct_lesion.config_values`).
    """
    if not description.get("config"):
        raise CheckpointError(
            "The checkpoint's description has no config: give the config file that it was trained "
            "with."
        )
    try:
        values = parse_yaml(description["config"])
        if not isinstance(values, dict):
            raise ValueError("it is not a mapping of keys")
        cfg = get_cfg()
        add_ct_lesion_config(cfg)
        unknown = _remove_unknown(values, cfg)
        cfg.merge_from_other_cfg(CfgNode(values))
        problems = value_problems(cfg)
        if problems:
            raise ValueError("; ".join(problems))
    except NOT_A_CONFIG as error:
        raise CheckpointError(
            f"The config in the checkpoint's description cannot be read ({reason(error, 1000)}): "
            "give the config file that it was trained with."
        ) from error
    if unknown:
        logger.warning(
            "Ignored keys of the checkpoint's config that this version does not have: %s. If the "
            "results differ, update ct_lesion.",
            ", ".join(unknown),
        )
    return cfg


def _remove_unknown(values: dict, known: CfgNode, parent: str = "") -> list[str]:
    """Delete keys that ``known`` does not have, in place; return their full names."""
    unknown = []
    for key in list(values):
        name = f"{parent}{key}"
        if key not in known:
            unknown.append(name)
            del values[key]
        elif isinstance(values[key], dict) and isinstance(known[key], CfgNode):
            unknown += _remove_unknown(values[key], known[key], f"{name}.")
    return unknown


def library_versions() -> dict[str, str]:
    """Versions of ct_lesion, torch and Detectron2."""
    versions = {"ct_lesion": __version__, "torch": str(torch.__version__)}
    if hasattr(detectron2, "__version__"):
        versions["detectron2"] = str(detectron2.__version__)
    return versions


def _to_json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Convert numbers and arrays of NumPy and PyTorch to Python's; other objects become text."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
