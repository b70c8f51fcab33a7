"""The folder of the registered datasets, and their entries in Detectron2's catalogs."""

import os
from pathlib import Path

from detectron2.data import MetadataCatalog

VARIABLE = "DETECTRON2_DATASETS"


def datasets_root() -> Path:
    """``$DETECTRON2_DATASETS``, or ``datasets`` in the current folder."""
    return Path(os.environ.get(VARIABLE, "datasets")).expanduser()


def describe_root() -> str:
    """The environment variable and its value, for messages about missing files."""
    return f"{VARIABLE} is {os.environ.get(VARIABLE, 'not set, so ./datasets is used')}"


def replace_metadata(dataset_name: str, **values: str) -> None:
    """Set metadata of a dataset, replacing earlier values.

    Detectron2 refuses to change a value, but a dataset's path is only known when it is loaded, and
    the environment variable may have changed since the last time.
    """
    metadata = MetadataCatalog.get(dataset_name)
    for key in values:
        metadata.__dict__.pop(key, None)
    metadata.set(**values)
