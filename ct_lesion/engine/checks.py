"""Checks of a config against its datasets, before anything is computed."""

import hashlib
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.checkpoint import config_from_description, locate_shipped, read_description
from ct_lesion.config import is_classifier
from ct_lesion.data.datasets.catalog import datasets_root, window_of
from ct_lesion.data.datasets.lesion_checks import check_lesions
from ct_lesion.data.datasets.lesion_coco import annotation_file
from ct_lesion.errors import CheckpointError, ConfigError, DatasetError
from ct_lesion.scans.windows import UNKNOWN, Window


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


def without_missing_val(cfg: CfgNode) -> tuple[CfgNode, list[str]]:
    """The config of a training without the validation set that was not prepared.

    ``DATASETS.TEST`` loses ``cncb_..._val`` where its training set exists and it does not, as
    ``prepare_cncb.py --val-fraction 0`` leaves it.

    Returns:
        The config, and remarks for the log.
    """
    missing = [name for name in cfg.DATASETS.TEST if _lacks_val(name)]
    if not missing:
        return cfg, []
    remark = (
        f"{', '.join(missing)} does not exist, so that the run keeps its last weights "
        "(model_final), not the best on a validation split. For one, prepare the dataset with "
        "--val-fraction 0.1."
    )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = tuple(name for name in cfg.DATASETS.TEST if name not in missing)
    cfg.freeze()
    return cfg, [remark]


def check_validation(cfg: CfgNode) -> None:
    """Check that a training has the test set that ``TEST.PATIENCE`` and ``EVAL_LOSS`` need.

    Raises:
        ConfigError: it has none.
    """
    keys = [key for key in ("PATIENCE", "EVAL_LOSS") if cfg.TEST[key]]
    if keys and not cfg.DATASETS.TEST:
        raise ConfigError(
            f"TEST.{keys[0]} is {cfg.TEST[keys[0]]}, but there is no dataset to evaluate on in "
            "training: name one in DATASETS.TEST that exists, e.g. of prepare_cncb.py "
            "--val-fraction 0.1."
        )


def _lacks_val(name: str) -> bool:
    if not name.startswith("cncb_") or not name.endswith("_val"):
        return False
    val, train = (
        datasets_root() / "cncb" / annotation_file(name.removesuffix("_val"), split)
        for split in ("val", "train")
    )
    return train.is_file() and not val.exists()


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


def check_lesion_datasets(cfg: CfgNode, training: bool = True) -> list[str]:
    """Check the lesion datasets of a config; a config of a classifier has none.

    Returns:
        Remarks for the log.

    Raises:
        ConfigError: ``MODEL.MASK_ON`` is False, or classes have another order in another dataset.
        DatasetError: see :func:`check_lesions`; or no slice is left to train on.
    """
    if is_classifier(cfg):
        return []
    if not cfg.MODEL.MASK_ON:
        raise ConfigError("MODEL.MASK_ON is False, but lesions are evaluated by their masks.")
    remarks, usable = [], 0
    names = _datasets_of(cfg, training)
    for name in names:
        records = DatasetCatalog.get(name)
        remarks += check_lesions(name, records, MetadataCatalog.get(name).get("json_file"))
        if name in cfg.DATASETS.TRAIN:
            usable += sum(_has_lesion(record) for record in records)
        first, own = (class_names(cfg, n) for n in (names[0], name))
        if own != first:
            raise ConfigError(
                f"DATASETS: the classes of {name} are {', '.join(own)}, but those of {names[0]} "
                f"are {', '.join(first)}: number the categories alike in both files."
            )
    if training and not usable and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        raise DatasetError(
            f"{', '.join(cfg.DATASETS.TRAIN)}: no slice has a lesion to train on (crowds do not "
            "count). Check the annotations, or set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False."
        )
    return remarks


def _has_lesion(record: dict) -> bool:
    return any(one.get("iscrowd", 0) == 0 for one in record.get("annotations", ()))


def with_window(cfg: CfgNode, training: bool = True) -> CfgNode:
    """A copy of the config with the ``INPUT.WINDOW`` of its training sets, or of its weights.

    A config that sets ``INPUT.WINDOW`` speaks for the datasets that do not record it. Each dataset
    is loaded, so that a missing test set shows before the training.

    Args:
        training: otherwise ``MODEL.WEIGHTS`` is evaluated on the test sets.

    Raises:
        ConfigError: two of config, weights (in an evaluation) and datasets differ.
        DatasetError: a dataset is missing or invalid.
    """
    for name in _datasets_of(cfg, training):
        DatasetCatalog.get(name)
    given, windows = Window.from_config(cfg), _windows_of(cfg, training)
    sources = [windows[name] for name in cfg.DATASETS.TRAIN] if training else []
    if not training and not given.is_known:
        sources = [window_of_weights(cfg.MODEL.WEIGHTS)]
        windows = {f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS}": sources[0], **windows}
    _check_alike({"INPUT.WINDOW": given, **windows}, training)
    if not given.is_known and sources and all(window.is_known for window in sources):
        given = sources[0]
    frozen, cfg = cfg.is_frozen(), cfg.clone()
    cfg.defrost()
    given.into_config(cfg)
    if frozen:
        cfg.freeze()
    return cfg


def window_remarks(cfg: CfgNode, training: bool = True) -> list[str]:
    """What is not known about the slices of a run, or has changed since its first weights.

    Args:
        cfg: from :func:`with_window`.
    """
    window, remarks = Window.from_config(cfg), []
    unrecorded = [name for name, w in _windows_of(cfg, training).items() if not w.is_known]
    if unrecorded:
        text = f"{', '.join(unrecorded)}: how the slices were made of HU is not recorded"
        remarks.append(
            f"{text} and taken to be as in INPUT.WINDOW: {window.label}."
            if window.is_known
            else f"{text}. INPUT.WINDOW is unknown, so prediction from HU will have to guess. "
            "Prepare the dataset again with --window, or set INPUT.WINDOW, if you know it."
        )
    first = window_of_weights(cfg.MODEL.WEIGHTS) if training else UNKNOWN
    if first.is_known and window.is_known and first != window:
        remarks.append(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} were trained on slices made with the window "
            f"{first.label}; those of this run were made with {window.label}."
        )
    return remarks


def window_of_weights(path: str | Path) -> Window:
    """How the training images of a checkpoint were made; unknown if it does not say so.

    Raises:
        ConfigError: its ``INPUT.WINDOW`` is invalid.
        CheckpointError: ``ct_lesion://NAME`` names no model.
    """
    path = locate_shipped(path)
    if not Path(path).is_file():
        return UNKNOWN
    try:
        return Window.from_config(config_from_description(read_description(path)))
    except CheckpointError:  # not one of ours; other faults are reported when it is loaded
        return UNKNOWN


def _datasets_of(cfg: CfgNode, training: bool) -> list[str]:
    return [*(cfg.DATASETS.TRAIN if training else ()), *cfg.DATASETS.TEST]


def _windows_of(cfg: CfgNode, training: bool) -> dict[str, Window]:
    return {name: window_of(name) for name in _datasets_of(cfg, training)}


def _check_alike(windows: dict[str, Window], training: bool) -> None:
    known = {name: window for name, window in windows.items() if window.is_known}
    for name, window in known.items():
        first = next(iter(known))
        if window != known[first]:
            advice = (
                "Train and test on slices that were made alike."
                if training
                else "To evaluate them nevertheless, set INPUT.WINDOW to that of the test sets."
            )
            raise ConfigError(
                f"Slices are made of HU differently in {first}, with the window "
                f"{known[first].label}, and in {name}, with {window.label}. {advice}"
            )


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
