"""Annotations of a COCO json: whether they can be used, and fit their image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.coco_masks import MaskFault, checked_rle, is_number
from ct_lesion.pictures import LARGEST_PICTURE

from ..findings import Finding, NotChecked, Severity, count
from ..inputs.json_files import list_of
from ..inputs.slices import AuditInput
from ..thresholds import AREA_TOLERANCE, BOX_TOLERANCE

_KINDS = {
    "faulty_annotation": ("no annotation at all", "Correct or remove them."),
    "annotation_of_no_image": ("of an image that is not listed", "Remove them."),
    "unknown_category": (
        "of a category that is not listed",
        "Detectron2 maps them to no class or stops: correct category_id or categories.",
    ),
    "repeated_annotation_id": ("with an id that another one has", "Give each its own id."),
    "bad_mask": (
        "with a mask that cannot be used",
        "Write it anew from the label mask; counts must add up to height x width.",
    ),
    "empty_mask": ("with a mask of no pixels", "Remove them."),
    "no_mask": ("without a mask", "Mask R-CNN needs one: segmentation."),
    "bad_box": ("with a box that is none", "A box is x, y, width, height, above 0."),
    "box_outside_image": ("with a box beyond the image", "Is it of another size or image?"),
    "mask_outside_image": ("with a polygon beyond the image", "Is it of another size or image?"),
    "box_not_of_mask": ("whose box is not the mask's", "Training uses the box as it is."),
    "area_not_of_mask": (
        "whose area is not the mask's",
        "AP by size, and the choice of small lesions, use the recorded area.",
    ),
}
_WARNINGS = ("area_not_of_mask", "mask_outside_image", "box_not_of_mask")


@dataclass
class CheckedAnnotations:
    """What is left of a COCO json to work with.

    Attributes:
        lesions: masks of each image that can be decoded, by file name.
        lungs: lung field of each image that names one, by file name; lesions lie in it.
    """

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    lesions: dict[str, list[dict]] = field(default_factory=lambda: defaultdict(list))
    lungs: dict[str, dict] = field(default_factory=dict)


def check_annotations(one: AuditInput) -> CheckedAnnotations:
    """Look at every annotation of an input that is a COCO json."""
    checked = CheckedAnnotations()
    content = one.coco or {}
    faults: dict[str, list[str]] = defaultdict(list)
    images = _usable_images(one, faults, checked)
    categories = {_key(c, "id") for c in list_of(content, "categories") if isinstance(c, dict)}
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        why = "the json has no list of annotations"
        checked.not_checked.append(NotChecked(f"annotations of {one.name}", why))
        annotations = []
    ids: set[Any] = set()
    for number, annotation in enumerate(annotations):
        if not isinstance(annotation, dict):
            faults["faulty_annotation"].append(f"annotations[{number}]")
            continue
        place = f"annotation {annotation.get('id', f'[{number}]')}"
        if _key(annotation, "id") in ids:
            faults["repeated_annotation_id"].append(place)
        ids.add(_key(annotation, "id"))
        if _key(annotation, "category_id") not in categories:
            faults["unknown_category"].append(f"{place}: {annotation.get('category_id')}")
        image = images.get(_key(annotation, "image_id"))
        if image is None:
            faults["annotation_of_no_image"].append(f"{place}: {annotation.get('image_id')}")
            continue
        name, (width, height) = image["file_name"], (image["width"], image["height"])
        for code, why in _check_one(annotation, width, height, checked.lesions[name]):
            faults[code].append(f"{name}, {place}: {why}")
    checked.findings += list(_as_findings(one.name, faults, len(annotations)))
    return checked


def _key(item: dict, name: str) -> int | str:
    """An id; what no id can be, a list for one, as text."""
    value = item.get(name)
    return value if isinstance(value, int | str) else repr(value)


def _usable_images(
    one: AuditInput, faults: dict[str, list[str]], checked: CheckedAnnotations
) -> dict[Any, dict]:
    """Images by id whose size is known; their lung fields are noted."""
    images: dict[Any, dict] = {}
    unknown, repeated = [], []
    for image in list_of(one.coco or {}, "images"):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            continue  # told when the file was read
        sides = [image.get("width"), image.get("height")]
        if not all(type(side) is int and side > 0 for side in sides) or (
            sides[0] * sides[1] > LARGEST_PICTURE
        ):
            unknown.append(f"{image['file_name']}: {sides[0]} x {sides[1]}")
            continue
        if _key(image, "id") in images:
            repeated.append(f"{image['file_name']}: {image.get('id')}")
        images[_key(image, "id")] = image
        if "lung_segmentation" in image:
            try:
                lung = checked_rle(image["lung_segmentation"], image["height"], image["width"])
                checked.lungs[image["file_name"]] = lung
            except MaskFault as fault:
                faults["bad_mask"].append(f"{image['file_name']}, lung field: {fault}")
    for code, places, what in (
        ("no_size", unknown, "without a width and height that can be"),
        ("repeated_image_id", repeated, "with an id that another one has"),
    ):
        if places:
            checked.findings.append(
                Finding(
                    Severity.ERROR,
                    code,
                    f"{one.name}: {count(len(places), 'image')} {what}.",
                    places,
                    "Correct the json file; annotations could not all be checked.",
                )
            )
    return images


def _check_one(
    annotation: dict, width: int, height: int, lesions: list[dict]
) -> Iterator[tuple[str, str]]:
    """Codes and reasons; a good mask joins ``lesions``."""
    box = annotation.get("bbox")
    if (
        not (isinstance(box, list) and len(box) == 4 and all(map(is_number, box)))
        or min(box[2:]) <= 0
    ):
        yield "bad_box", str(box)[:60]
        box = None
    elif (
        min(box[:2]) < -BOX_TOLERANCE
        or box[0] + box[2] > width + BOX_TOLERANCE
        or box[1] + box[3] > height + BOX_TOLERANCE
    ):
        yield "box_outside_image", f"{box} in {width} x {height}"
    segmentation = annotation.get("segmentation")
    if not segmentation:
        yield "no_mask", "no segmentation"
        return
    try:
        rle = checked_rle(segmentation, height, width)
    except MaskFault as fault:
        yield "bad_mask", str(fault)
        return
    area = int(coco_mask.area(rle))
    if area == 0:
        yield "empty_mask", "0 pixels"
        return
    lesions.append(rle)
    if isinstance(segmentation, list) and _reaches_out(segmentation, width, height):
        yield "mask_outside_image", f"in {width} x {height}"
    of_mask = [float(v) for v in coco_mask.toBbox(rle)]
    if box and _farthest(box, of_mask) > BOX_TOLERANCE:
        yield "box_not_of_mask", f"{box}, the mask's is {of_mask}"
    recorded = annotation.get("area")
    # polygons: the outline's area, half a pixel off all around
    slack = max(AREA_TOLERANCE * area, sum(of_mask[2:]) if isinstance(segmentation, list) else 0)
    if recorded is not None and not (is_number(recorded) and abs(recorded - area) <= slack):
        yield "area_not_of_mask", f"{str(recorded)[:20]}, the mask's is {area}"


def _reaches_out(polygons: list[list[float]], width: int, height: int) -> bool:
    return any(
        min(polygon) < -BOX_TOLERANCE
        or max(polygon[::2]) > width + BOX_TOLERANCE
        or max(polygon[1::2]) > height + BOX_TOLERANCE
        for polygon in polygons
    )


def _farthest(box: list[float], other: list[float]) -> float:
    """Distance of the sides of two boxes x, y, width, height that are farthest apart."""
    corners = [(b[0], b[1], b[0] + b[2], b[1] + b[3]) for b in (box, other)]
    return max(abs(a - b) for a, b in zip(*corners, strict=True))


def _as_findings(name: str, faults: dict[str, list[str]], total: int) -> Iterator[Finding]:
    for code, (what, advice) in _KINDS.items():
        if faults[code]:
            yield Finding(
                Severity.WARNING if code in _WARNINGS else Severity.ERROR,
                code,
                f"{name}: {count(len(faults[code]), 'annotation')} of {total:,} {what}.",
                faults[code],
                advice,
            )
