"""COCO json from outside, checked before Detectron2 and pycocotools read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import check_picture_size

from .rle_checks import all_finite, check_segmentation

ADVICE = "Prepare the dataset again, or correct the file."


def check_coco_dataset(path: str | Path, content: dict) -> None:
    """Check images, categories and annotations of a dataset.

    Args:
        path: for the messages.
        content: of the file.

    Raises:
        DatasetError: names the first image or annotation that cannot be used.
    """
    images = _records(path, content, "images")
    categories = _records(path, content, "categories")
    annotations = _records(path, content, "annotations")
    sizes = {}
    for image in images:
        number = image.get("id")
        with_id = f"{path}: image {str(number)[:40]}"
        if not _is_whole(number) or number in sizes:
            raise DatasetError(f"{with_id}: its id is not a number of its own. {ADVICE}")
        height, width = image.get("height"), image.get("width")
        if not _is_whole(height) or not _is_whole(width):
            raise DatasetError(f"{with_id}: has no height and width in pixels. {ADVICE}")
        check_picture_size(with_id, width, height)
        _check_file_name(with_id, image.get("file_name"))
        sizes[number] = (height, width)
        if image.get("lung_segmentation") is not None:
            _check_mask(with_id, image["lung_segmentation"], height, width)
    known = _ids(path, categories, "category")
    for category in categories:
        if not isinstance(category.get("name"), str):
            raise DatasetError(f"{path}: category {category['id']} has no name. {ADVICE}")
    _ids(path, annotations, "annotation")
    for annotation in annotations:
        _check_annotation(path, annotation, sizes, known)


def check_detections(path: str | Path, detections: Sequence, truth: dict) -> None:
    """Check COCO results.

    Args:
        path: for the messages.
        detections: content of the file.
        truth: the checked dataset that they are of.

    Raises:
        DatasetError: names the first that cannot be used.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    for number, detection in enumerate(detections):
        where = f"{path}: detection {number}"
        if not isinstance(detection, dict) or not isinstance(detection.get("image_id"), int):
            raise DatasetError(f"{where}: has no image_id. Evaluate the run again.")
        score = detection.get("score")
        category = detection.get("category_id")
        if not all_finite([score]) or not _is_whole(category) or category not in categories:
            raise DatasetError(f"{where}: has no score or category. Evaluate the run again.")
        _check_box(where, detection.get("bbox"))
        if detection["image_id"] in sizes:  # of others the run's reader tells how many
            if not isinstance(detection.get("segmentation"), dict):
                raise DatasetError(f"{where}: has no mask. Evaluate the run again.")
            _check_mask(where, detection["segmentation"], *sizes[detection["image_id"]])


def _records(path: str | Path, content: dict, key: str) -> list[dict]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DatasetError(f"{path}: its {key!r} are not a list of objects. {ADVICE}")
    return records


def _ids(path: str | Path, records: Iterable[dict], what: str) -> set[int]:
    found: set[int] = set()
    for record in records:
        number = record.get("id")
        if not _is_whole(number) or number in found:
            raise DatasetError(
                f"{path}: {what} {str(number)[:40]}: its id is not a number of its own. {ADVICE}"
            )
        found.add(number)
    return found


def _check_annotation(
    path: str | Path, annotation: dict, sizes: dict[int, tuple[int, int]], categories: set[int]
) -> None:
    where = f"{path}: annotation {annotation['id']}"
    image, category = annotation.get("image_id"), annotation.get("category_id")
    if not _is_whole(image) or image not in sizes:
        raise DatasetError(f"{where}: is of image {str(image)[:40]}, which is not there. {ADVICE}")
    if not _is_whole(category) or category not in categories:
        raise DatasetError(
            f"{where}: is of category {str(category)[:40]}, which is not there. {ADVICE}"
        )
    if annotation.get("iscrowd", 0) not in (0, 1):
        raise DatasetError(f"{where}: iscrowd is neither 0 nor 1. {ADVICE}")
    if not all_finite([annotation.get("area", 0)]):
        raise DatasetError(f"{where}: its area is not a number. {ADVICE}")
    _check_box(where, annotation.get("bbox"))
    if annotation.get("segmentation"):
        _check_mask(where, annotation["segmentation"], *sizes[image])


def _check_box(where: str, box: Any) -> None:
    if not isinstance(box, list) or len(box) != 4 or not all_finite(box) or min(box[2:]) < 0:
        raise DatasetError(
            f"{where}: its bbox is {str(box)[:80]}, not x, y, width and height. {ADVICE}"
        )


def _check_mask(where: str, mask: Any, height: int, width: int) -> None:
    try:
        check_segmentation(mask, height, width)
    except ValueError as error:
        raise DatasetError(f"{where}: {error}. {ADVICE}") from None


def _check_file_name(where: str, name: Any) -> None:
    if not isinstance(name, str) or not name or "\0" in name:
        raise DatasetError(f"{where}: has no file_name. {ADVICE}")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DatasetError(
            f"{where}: its file_name {name[:200]!r} leads out of the image folder. {ADVICE}"
        )


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0
