"""Reads COCO json written by any tool.

Tools omit values that Detectron2 and pycocotools need, or write them in other forms. Values with
only one possible meaning are filled in or converted here; :mod:`.coco_checks` reports all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ct_lesion.errors import DatasetError
from ct_lesion.json_files import read_json

from .coco_masks import checked_rle, is_number

ADVICE = "Prepare the dataset again, or correct the file."
NO_MASK = "it has no segmentation, which a lesion needs (a mask cannot be made from its box)"
_MOST_DIGITS = 18


def read_coco(path: str | Path) -> dict:
    """Read a COCO json, convert it with :func:`unify_coco` and fill in missing values.

    A missing ``area`` or ``bbox`` is computed from the mask.

    Raises:
        DatasetError: the file is damaged, an annotation has no mask, or ``area`` or ``bbox`` is
            missing and the mask is invalid. :func:`check_coco_dataset` reports all other faults.
    """
    content = read_json(path, dict, DatasetError, ADVICE)
    unify_coco(content)
    images = {image["id"]: image for image in _objects(content, "images") if _is_sized(image)}
    for annotation in _objects(content, "annotations"):
        if not annotation.get("segmentation"):
            raise _fault(path, annotation, NO_MASK)
        image = images.get(_key(annotation.get("image_id")))
        if image is None or ("area" in annotation and "bbox" in annotation):
            continue
        try:
            rle = checked_rle(annotation["segmentation"], image["height"], image["width"])
        except ValueError as error:
            raise _fault(path, annotation, str(error)) from None
        annotation.setdefault("area", int(coco_mask.area(rle)))
        annotation.setdefault("bbox", coco_mask.toBbox(rle).tolist())
    return content


def unify_coco(content: dict) -> None:
    """Bring the COCO variants of other tools into COCO's form, in place; keep malformed entries.

    - Ids such as ``"7"`` or 7.0 become whole numbers.
    - ``iscrowd`` that is missing, null, false or true becomes 0 or 1.
    - An ``area`` that is null or 0, and a ``bbox`` that is null or empty, count as missing.
    - A category without annotations that is the ``supercategory`` of others is dropped; Roboflow
      adds one.
    """
    for key in ("images", "categories", "annotations"):
        for entry in _objects(content, key):
            for name in ("id", "image_id", "category_id"):
                if name in entry:
                    entry[name] = _whole(entry[name])
    annotations = list(_objects(content, "annotations"))
    for annotation in annotations:
        crowd = annotation.get("iscrowd")
        annotation["iscrowd"] = int(crowd or 0) if crowd in (None, False, True) else crowd
        area = annotation.get("area")
        if "area" in annotation and (area is None or (is_number(area) and area == 0)):
            del annotation["area"]
        if "bbox" in annotation and annotation["bbox"] in (None, []):
            del annotation["bbox"]
    if isinstance(content.get("categories"), list):
        used = {_key(annotation.get("category_id")) for annotation in annotations}
        groups = {_key(c.get("supercategory")) for c in _objects(content, "categories")}
        content["categories"] = [
            category
            for category in content["categories"]
            if not isinstance(category, dict)
            or _key(category.get("id")) in used
            or _key(category.get("name")) not in groups
            or category.get("name") == category.get("supercategory")
        ]


def number_from_1(content: dict) -> dict:
    """Add 1 to all annotation ids if they are numbered from 0, in place; returns the content.

    To pycocotools, 0 means "no match": it would count each detection of that lesion as false.
    """
    annotations = [a for a in _objects(content, "annotations") if type(a.get("id")) is int]
    if any(annotation["id"] == 0 for annotation in annotations):
        for annotation in annotations:
            annotation["id"] += 1
    return content


def _objects(content: dict, key: str) -> Iterator[dict]:
    entries = content.get(key)
    return (e for e in entries if isinstance(e, dict)) if isinstance(entries, list) else iter(())


def _key(value: Any) -> Any:
    """The value as a dict key; ``None`` if it is not an int or str, e.g. a list."""
    return value if isinstance(value, (int, str)) else None


def _whole(value: Any) -> Any:
    """The whole number that a value represents ("7" and 7.0, but not "007"), or else the value."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isdecimal() and len(value) <= _MOST_DIGITS:
        return int(value) if str(int(value)) == value else value
    return value


def _is_sized(image: dict) -> bool:
    sides = [image.get("height"), image.get("width")]
    return type(image.get("id")) is int and all(type(side) is int and side > 0 for side in sides)


def _fault(path: str | Path, annotation: dict, why: str) -> DatasetError:
    return DatasetError(f"{path}: annotation {str(annotation.get('id'))[:40]}: {why}. {ADVICE}")
