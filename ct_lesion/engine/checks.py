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
    """Names of a dataset's classes, in the order of the outputs of this config's model.

    Raises:
        ConfigError: the dataset is not registered, or belongs to the other task.
    """
    if dataset_name not in DatasetCatalog:
        raise ConfigError(
            f"DATASETS names {dataset_name!r}, which is not registered. Register it, or choose one "
            f"of {', '.join(sorted(n for n in DatasetCatalog.list() if _is_ours(n)))}."
        )
    metadata = MetadataCatalog.get(dataset_name)
    wanted, other = ("thing_classes", "image_classes")
    if is_classifier(cfg):
        wanted, other = other, wanted
    if not hasattr(metadata, wanted) and not hasattr(metadata, other):
        DatasetCatalog.get(dataset_name)  # loading a COCO json sets the names of its classes
    if not hasattr(metadata, wanted):
        kind, other_task = (
            ("classification", "segmentation")
            if is_classifier(cfg)
            else ("lesion", "classification")
        )
        raise ConfigError(
            f"Dataset {dataset_name} is not a {kind} dataset, which "
            f"{cfg.MODEL.META_ARCHITECTURE} (MODEL.META_ARCHITECTURE) needs. Set DATASETS to "
            f"{kind} datasets, or use a config of configs/{other_task}."
        )
    return list(getattr(metadata, wanted))


def without_missing_val(cfg: CfgNode) -> tuple[CfgNode, list[str]]:
    """Remove validation sets that were not prepared from ``DATASETS.TEST`` before training.

    A ``cncb_..._val`` is removed if its file is missing and the file of its training set exists, as
    after ``prepare_cncb.py --val-fraction 0``.

    Returns:
        The config, copied if it changes, and remarks for the log.
    """
    missing = [name for name in cfg.DATASETS.TEST if _lacks_val(name)]
    if not missing:
        return cfg, []
    remark = (
        f"{', '.join(missing)} does not exist, so the run keeps only its last weights "
        "(model_final). To also keep the best weights on a validation split, prepare the dataset "
        "with --val-fraction 0.1."
    )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASETS.TEST = tuple(name for name in cfg.DATASETS.TEST if name not in missing)
    cfg.freeze()
    return cfg, [remark]


def check_validation(cfg: CfgNode) -> None:
    """Check that there is a test set if ``TEST.PATIENCE`` or ``TEST.EVAL_LOSS`` needs one.

    Raises:
        ConfigError: ``DATASETS.TEST`` is empty.
    """
    keys = [key for key in ("PATIENCE", "EVAL_LOSS") if cfg.TEST[key]]
    if keys and not cfg.DATASETS.TEST:
        raise ConfigError(
            f"TEST.{keys[0]} is {cfg.TEST[keys[0]]}, but there is no dataset to evaluate on in "
            "training. Set DATASETS.TEST to an existing dataset, e.g. the validation split of "
            "ct-lesion prepare-cncb --val-fraction 0.1."
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
                f"{', '.join(names)}. Set the key to {len(names)}, or use another dataset."
            )


def check_lesion_datasets(cfg: CfgNode, training: bool = True) -> list[str]:
    """Check the lesion datasets of a segmenter's config; a classifier has none.

    Returns:
        Remarks for the log.

    Raises:
        ConfigError: ``MODEL.MASK_ON`` is False, or datasets differ in the order of their classes.
        DatasetError: see :func:`check_lesions`; or no slice has a lesion to train on.
    """
    if is_classifier(cfg):
        return []
    if not cfg.MODEL.MASK_ON:
        raise ConfigError(
            "MODEL.MASK_ON is False, but lesions are evaluated by their masks. Set it to True."
        )
    remarks, usable = [], 0
    names = _datasets_of(cfg, training)
    for name in names:
        records = DatasetCatalog.get(name)
        remarks += check_lesions(name, records, MetadataCatalog.get(name).get("json_file"))
        if name in cfg.DATASETS.TRAIN:
            usable += sum(_has_lesion(record) for record in records)
        expected, classes = (class_names(cfg, n) for n in (names[0], name))
        if classes != expected:
            raise ConfigError(
                f"DATASETS: the classes of {name} are {', '.join(classes)}, but those of "
                f"{names[0]} are {', '.join(expected)}. Give the categories the same ids in both "
                "files."
            )
    if training and not usable and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        raise DatasetError(
            f"{', '.join(cfg.DATASETS.TRAIN)}: no slice has a lesion to train on (crowds do not "
            "count). Check the annotations, or set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False."
        )
    return remarks


def _has_lesion(record: dict) -> bool:
    return any(lesion.get("iscrowd", 0) == 0 for lesion in record.get("annotations", ()))


def with_window(cfg: CfgNode, training: bool = True) -> CfgNode:
    """Copy a config and set its ``INPUT.WINDOW``, if unknown, to that of its datasets or weights.

    Training takes the window of its training sets, an evaluation that of ``MODEL.WEIGHTS``. A
    window that the config sets is assumed for datasets that do not record theirs. Every dataset is
    loaded, so that a missing test set is reported before training starts.

    Args:
        training: True for training; False if ``MODEL.WEIGHTS`` is evaluated on the test sets.

    Raises:
        ConfigError: the windows of config, datasets and (in an evaluation) weights differ.
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
    """Remarks on datasets that record no window, and on weights that were trained with another.

    Args:
        cfg: result of :func:`with_window`.
        training: see :func:`with_window`.
    """
    window, remarks = Window.from_config(cfg), []
    unrecorded = [name for name, w in _windows_of(cfg, training).items() if not w.is_known]
    if unrecorded:
        text = f"{', '.join(unrecorded)}: the dataset does not record its window"
        remarks.append(
            f"{text}. INPUT.WINDOW is assumed: {window.label}."
            if window.is_known
            else f"{text} and INPUT.WINDOW is unknown, so prediction from HU will have to guess. "
            "Prepare the dataset again with --window, or set INPUT.WINDOW if you know it."
        )
    first = window_of_weights(cfg.MODEL.WEIGHTS) if training else UNKNOWN
    if first.is_known and window.is_known and first != window:
        remarks.append(
            f"MODEL.WEIGHTS {cfg.MODEL.WEIGHTS} were trained on slices made with the window "
            f"{first.label}, but the slices of this run were made with {window.label}."
        )
    return remarks


def window_of_weights(path: str | Path) -> Window:
    """The window of a checkpoint's training slices; unknown if the checkpoint does not record it.

    Raises:
        ConfigError: the checkpoint's ``INPUT.WINDOW`` is invalid.
        CheckpointError: no shipped model has the name in ``ct_lesion://NAME``.
    """
    path = locate_shipped(path)
    if not Path(path).is_file():
        return UNKNOWN
    try:
        return Window.from_config(config_from_description(read_description(path)))
    except CheckpointError:  # not written by ct_lesion, or damaged, which loading reports
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
                "Train and test on slices with the same window."
                if training
                else "To evaluate anyway, set INPUT.WINDOW to that of the test sets."
            )
            raise ConfigError(
                f"The windows of {first} ({known[first].label}) and {name} ({window.label}) "
                f"differ. {advice}"
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
