"""Checks of a config against its datasets, before anything is computed."""

import hashlib
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.config import is_classifier
from ct_lesion.errors import ConfigError


def class_names(cfg: CfgNode, dataset_name: str) -> list[str]:
    """Names of the classes that a model of this config predicts on a dataset, in order.

    Raises:
        ConfigError: the dataset is not registered, or is for the other task.
    """
    if dataset_name not in DatasetCatalog:
        raise ConfigError(
            f"DATASETS names {dataset_name!r}, which is not registered. Registered are: "
            f"{', '.join(sorted(n for n in DatasetCatalog.list() if _is_ours(n)))}."
        )
    metadata = MetadataCatalog.get(dataset_name)
    wanted, other = ("thing_classes", "image_classes")
    if is_classifier(cfg):
        wanted, other = other, wanted
    if not hasattr(metadata, wanted) and not hasattr(metadata, other):
        DatasetCatalog.get(dataset_name)  # loading a COCO json sets the names of its classes
    if not hasattr(metadata, wanted):
        kind = "classification" if is_classifier(cfg) else "lesion"
        raise ConfigError(
            f"Dataset {dataset_name} is not a {kind} dataset, which "
            f"{cfg.MODEL.META_ARCHITECTURE} (MODEL.META_ARCHITECTURE) needs."
        )
    return list(getattr(metadata, wanted))


def check_classes(cfg: CfgNode) -> None:
    """Check that the model has as many classes as each dataset of the config.

    Raises:
        ConfigError: names the key, its value and the dataset's classes.
    """
    key, value = (
        ("MODEL.CLASSIFIER.NUM_CLASSES", cfg.MODEL.CLASSIFIER.NUM_CLASSES)
        if is_classifier(cfg)
        else ("MODEL.ROI_HEADS.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES)
    )
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        names = class_names(cfg, name)
        if len(names) != value:
            raise ConfigError(
                f"{key} is {value}, but dataset {name} has {len(names)} classes: "
                f"{', '.join(names)}."
            )


def check_datasets(cfg: CfgNode, training: bool = True) -> None:
    """Load each dataset of the config, so that a missing test set shows before the training.

    Raises:
        DatasetError: a dataset is missing or invalid.
    """
    for name in (*(cfg.DATASETS.TRAIN if training else ()), *cfg.DATASETS.TEST):
        DatasetCatalog.get(name)


def dataset_hashes(cfg: CfgNode) -> dict[str, str]:
    """SHA-256 of the json file of each dataset of the config that has one."""
    hashes = {}
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        json_file = MetadataCatalog.get(name).get("json_file", None)
        if json_file and Path(json_file).is_file():
            hashes[name] = hashlib.sha256(Path(json_file).read_bytes()).hexdigest()
    return hashes


def _is_ours(name: str) -> bool:
    return name.startswith(("cncb_", "covidx_ct_"))
