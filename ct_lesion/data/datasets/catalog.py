"""The folder of the registered datasets, and their entries in Detectron2's catalogs."""

import os
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog

from ct_lesion.scans.windows import UNKNOWN, Window

VARIABLE = "DETECTRON2_DATASETS"


def datasets_root() -> Path:
    """``$DETECTRON2_DATASETS``, or ``datasets`` in the current folder."""
    return Path(os.environ.get(VARIABLE, "datasets")).expanduser()


def describe_root() -> str:
    """The environment variable and its value, for messages about missing files."""
    return f"{VARIABLE} is {os.environ.get(VARIABLE, 'not set, so ./datasets is used')}"


def replace_metadata(dataset_name: str, **values: Any) -> None:
    """Set metadata of a dataset, replacing earlier values.

    Detectron2 refuses to change a value, but a dataset's path is only known when it is loaded, and
    the environment variable may change between two loads.
    """
    metadata = MetadataCatalog.get(dataset_name)
    for key in values:
        metadata.__dict__.pop(key, None)
    metadata.set(**values)


def keep_window(dataset_name: str, json_file: str | Path, content: dict) -> None:
    """Set the ``window`` in a dataset's metadata from the ``info`` of its json.

    Args:
        json_file: for the message.
        content: content of the json file.

    Raises:
        DatasetError: the window in the json is invalid.
    """
    info = content.get("info")
    value = info.get("window") if isinstance(info, dict) else None
    replace_metadata(dataset_name, window=Window.from_json(value, json_file))


def window_of(dataset_name: str) -> Window:
    """How the slices of a registered dataset were made from HU; unknown before it is loaded."""
    return MetadataCatalog.get(dataset_name).get("window", UNKNOWN)
