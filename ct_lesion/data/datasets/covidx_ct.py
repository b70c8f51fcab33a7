"""The COVIDx-CT classification datasets, registered with Detectron2.

Registered at import: ``covidx_ct_train`` (the training sample), ``covidx_ct_train_full``,
``covidx_ct_val`` and ``covidx_ct_test``. They are read from
``$DETECTRON2_DATASETS/covidx_ct/annotations``, which ``tools/prepare_covidx_ct.py`` writes. The
environment variable is read when a dataset is loaded.
"""

from __future__ import annotations

import operator
from functools import partial
from pathlib import Path, PurePosixPath

from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.errors import DatasetError
from ct_lesion.json_files import read_json
from ct_lesion.pictures import check_picture_size

from .catalog import datasets_root, describe_root, keep_window, replace_metadata
from .covidx_lists import IMAGE_CLASSES

DATASETS = ("train", "train_full", "val", "test")
RECIPE = (
    "ct-lesion prepare-covidx-ct --image-root IMAGES --train-list train_COVIDx_CT-1.txt "
    "--val-list val_COVIDx_CT-1.txt --test-list test_COVIDx_CT-1.txt"
)


def load_covidx_ct(
    json_file: str | Path, image_root: str | Path | None = None, *, name: str | None = None
) -> list[dict]:
    """Load records in Detectron2's format.

    Each has ``file_name``, ``image_id``, ``height``, ``width``, ``label`` (index into
    ``IMAGE_CLASSES``), ``patient`` (unique to a person in the dataset), ``scan``, ``slice`` and
    ``body_box`` (x0, y0, x1, y1 in pixels, or ``None``).

    Args:
        json_file: written by ``tools/prepare_covidx_ct.py``.
        image_root: folder of the images, if they have moved since the file was written.
        name: name of the registered dataset; the ``window`` of the json becomes its metadata.

    Raises:
        DatasetError: the file is missing or not a classification dataset, or its first image does
            not exist.
    """
    json_file = Path(json_file)
    if not json_file.is_file():
        raise DatasetError(f"{json_file} does not exist. Make it with: {RECIPE}")
    content = read_json(json_file, dict, DatasetError, f"Make it again with: {RECIPE}")
    try:
        classes, records, stored_root = (content[k] for k in ("classes", "images", "image_root"))
        if not isinstance(classes, list):
            raise ValueError("its classes are not a list")
        names = [record["file_name"] for record in records]
        for record in records:
            _check_record(record)
        root = Path(image_root or stored_root)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{json_file} is not a classification dataset ({error}). Make it again with: {RECIPE}"
        ) from None
    if tuple(classes) != IMAGE_CLASSES:
        raise DatasetError(
            f"{json_file}: its classes {classes} are not {list(IMAGE_CLASSES)}. Make it again "
            f"with: {RECIPE}"
        )
    if not names:
        raise DatasetError(f"{json_file} contains no slices. Make it again with: {RECIPE}")
    root = root if image_root or root.is_absolute() else json_file.parent / root
    if not (root / names[0]).is_file():
        raise DatasetError(
            f"{root / names[0]} does not exist, but is listed in {json_file}. If the images have "
            "moved, prepare the dataset again with --image-root, or give image_root to "
            "register_covidx_ct()."
        )
    if name:
        keep_window(name, json_file, content)
    for record in records:
        record["file_name"] = f"{root}/{record['file_name']}"
    return records


def _check_record(record: dict) -> None:
    """Check the label, file name and size of a record.

    Raises:
        ValueError, KeyError, TypeError: a field is missing or invalid.
    """
    label = record["label"]
    # the range contains 1.0 and True, too
    if type(label) is not int or label not in range(len(IMAGE_CLASSES)):
        raise ValueError(f"the label {str(label)[:40]} is not 0, 1 or 2")
    name = record["file_name"]
    if not isinstance(name, str) or "\0" in name or ".." in PurePosixPath(name).parts:
        raise ValueError(f"the file name {str(name)[:80]!r} leads out of the image folder")
    check_picture_size(name, *(operator.index(record[side]) for side in ("width", "height")))


def _load_shipped(dataset: str) -> list[dict]:
    json_file = datasets_root() / "covidx_ct" / "annotations" / f"{dataset}.json"
    if not json_file.is_file():
        raise DatasetError(
            f"Dataset covidx_ct_{dataset}: {json_file} does not exist. {describe_root()}. Make the "
            f"dataset with: {RECIPE} --output {datasets_root() / 'covidx_ct'}"
        )
    replace_metadata(f"covidx_ct_{dataset}", json_file=str(json_file))
    return load_covidx_ct(json_file, name=f"covidx_ct_{dataset}")


def register_covidx_ct(
    name: str, json_file: str | Path, image_root: str | Path | None = None
) -> None:
    """Register your own classification dataset; the file is read when the dataset is loaded.

    Args:
        name: name to use in ``cfg.DATASETS.TRAIN`` or ``TEST``.
        json_file: written by ``tools/prepare_covidx_ct.py``.
        image_root: folder of the images, if they have moved since the file was written.

    Raises:
        DatasetError: another dataset is registered under this name.
    """
    root = image_root and str(image_root)
    _register(name, partial(load_covidx_ct, str(json_file), root, name=name))
    replace_metadata(name, json_file=str(json_file))


def _register(name: str, load: partial) -> None:
    if name in DatasetCatalog:
        known = DatasetCatalog[name]
        # registering the same dataset again, e.g. when the module is reloaded, is not a conflict
        if (getattr(known, "func", load).__name__, getattr(known, "args", None)) != (
            load.func.__name__,
            load.args,
        ):
            raise DatasetError(
                f"A dataset named {name!r} is already registered. Choose another name."
            )
        DatasetCatalog.remove(name)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(
        image_classes=list(IMAGE_CLASSES), evaluator_type="classification"
    )


for _dataset in DATASETS:
    _register(f"covidx_ct_{_dataset}", partial(_load_shipped, _dataset))
