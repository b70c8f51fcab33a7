"""Where the registered datasets lie, and what Detectron2's catalogs know about them."""

import os
from pathlib import Path

from detectron2.data import MetadataCatalog

VARIABLE = "DETECTRON2_DATASETS"


def datasets_root() -> Path:
    """``$DETECTRON2_DATASETS``, or ``datasets`` in the current folder."""
    return Path(os.environ.get(VARIABLE, "datasets")).expanduser()


def describe_root() -> str:
    """The variable and its value, for messages about files that are not there."""
    return f"{VARIABLE} is {os.environ.get(VARIABLE, 'not set, so ./datasets is used')}"


def replace_metadata(dataset_name: str, **values: str) -> None:
    """Set metadata of a dataset, also to other values than before.

    Detectron2 refuses a second value; but where a dataset lies is only known when it is loaded,
    and the variable may have changed since the last time.
    """
    metadata = MetadataCatalog.get(dataset_name)
    for key in values:
        metadata.__dict__.pop(key, None)
    metadata.set(**values)
