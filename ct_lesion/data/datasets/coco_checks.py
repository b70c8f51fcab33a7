"""Checks of untrusted COCO json, before Detectron2 and pycocotools read it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pycocotools import mask as coco_mask

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import LARGEST_PICTURE

from .coco_files import ADVICE
from .coco_masks import check_segmentation, checked_rle, is_number

BOX_TOLERANCE = 2.0
"""Pixels by which a box may differ from its mask's box or exceed the image."""
AREA_TOLERANCE = 0.05
"""Allowed relative difference between a recorded area and the area of the mask."""
WARNINGS = frozenset(
    {
        "no_lung_field",
        "empty_mask",
        "flat_box",
        "box_outside_image",
        "mask_outside_image",
        "box_not_of_mask",
        "area_not_of_mask",
    }
)
"""Codes of faults that do not prevent the use of a dataset; all others are errors."""


class Fault(NamedTuple):
    """A fault in a dataset.

    Attributes:
        code: kind of fault, e.g. ``bad_mask``.
        where: the image, category or annotation.
        why: what is wrong with it.
    """

    code: str
    where: str
    why: str

    @property
    def is_error(self) -> bool:
        """Whether the dataset cannot be used."""
        return self.code not in WARNINGS


def check_coco_dataset(path: str | Path, content: dict) -> None:
    """Check the images, categories and annotations of a dataset; warnings are ignored.

    Args:
        path: for the messages.
        content: content of the file.

    Raises:
        DatasetError: names the first image, category or annotation that cannot be used.
    """
    for fault in CocoChecker(content).faults():
        if fault.is_error:
            raise DatasetError(f"{path}: {fault.where}: {fault.why}. {ADVICE}")


class CocoChecker:
    """Finds the faults of a COCO dataset and collects the masks that can be decoded.

    Attributes:
        lesions: run-length encoded masks of the annotations, by the image's file name.
        lungs: run-length encoded lung fields, by the image's file name.

    Both are complete once :meth:`faults` is exhausted.
    """

    def __init__(self, content: dict) -> None:
        self.lesions: dict[str, list[dict]] = defaultdict(list)
        self.lungs: dict[str, dict] = {}
        self._content = content
        self._listed: set[int] = set()  # ids of all images
        self._images: dict[int, dict] = {}  # images with a valid name and size, by id
        self._categories: set[int] = set()

    def faults(self) -> Iterator[Fault]:
        """All faults, in the order of images, categories and annotations."""
        images: list[tuple[str, dict]] = []
        yield from self._records("images", "image", images)
        for where, image in images:
            yield from self._check_image(where, image)
        categories: list[tuple[str, dict]] = []
        yield from self._records("categories", "category", categories)
        for where, category in categories:
            if not isinstance(category.get("name"), str):
                yield Fault("faulty_category", where, "it has no name")
            if _is_whole(category.get("id")):
                self._categories.add(category["id"])
        annotations: list[tuple[str, dict]] = []
        yield from self._records("annotations", "annotation", annotations)
        for where, annotation in annotations:
            yield from self._check_annotation(where, annotation)

    def _records(self, key: str, noun: str, records: list[tuple[str, dict]]) -> Iterator[Fault]:
        """Check a list and its ids; append its objects and their places to ``records``."""
        entries = self._content.get(key)
        if not isinstance(entries, list):
            yield Fault("missing_list", repr(key), "is missing or not a list")
            return
        ids: set[int] = set()
        for index, entry in enumerate(entries):
            where = f"{key}[{index}]"
            if not isinstance(entry, dict):
                yield Fault(f"faulty_{noun}", where, "is not an object")
                continue
            number = entry.get("id")
            if not _is_whole(number):
                why = f"its id {str(number)[:40]} is not a whole number of at least 0"
                yield Fault(f"faulty_{noun}", where, why)
            else:
                where = f"{noun} {number}"
                if number in ids:
                    yield Fault(f"repeated_{noun}_id", where, "its id is not unique")
                ids.add(number)
            records.append((where, entry))

    def _check_image(self, where: str, image: dict) -> Iterator[Fault]:
        number, name = image.get("id"), image.get("file_name")
        height, width = image.get("height"), image.get("width")
        if _is_whole(number):
            self._listed.add(number)
        if not isinstance(name, str) or not name or "\0" in name:
            yield Fault("faulty_image", where, "it has no file_name")
            return
        where = f"{where} ({name[:200]})"
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            yield Fault("faulty_image", where, "its file_name leads out of the image folder")
            return
        if not _is_whole(height) or not _is_whole(width):
            yield Fault("no_size", where, "it has no height and width in pixels")
            return
        if not 0 < height * width <= LARGEST_PICTURE:
            why = f"its recorded size is {width} x {height} pixels, which no CT slice has"
            yield Fault("no_size", where, why)
            return
        if _is_whole(number):
            self._images[number] = image
        if "lung_segmentation" not in image:
            return
        lung = image["lung_segmentation"]
        if lung is None:
            yield Fault("no_lung_field", where, "its lung_segmentation is null")
            return
        try:
            self.lungs[name] = checked_rle(lung, height, width)
        except ValueError as error:
            yield Fault("bad_lung_field", where, str(error))

    def _check_annotation(self, where: str, annotation: dict) -> Iterator[Fault]:
        category, number = annotation.get("category_id"), annotation.get("image_id")
        if not _is_whole(category) or category not in self._categories:
            why = f"category {str(category)[:40]} is not listed"
            yield Fault("unknown_category", where, why)
        if annotation.get("iscrowd", 0) not in (0, 1):
            yield Fault("faulty_annotation", where, "its iscrowd is neither 0 nor 1")
        if not is_number(annotation.get("area", 0)):
            yield Fault("faulty_annotation", where, "its area is not a number")
        if annotation.get("ignore", 0) != 0:
            why = "its ignore is not 0; iscrowd 1 leaves it out of training and AP"
            yield Fault("faulty_annotation", where, why)
        if not _is_whole(number) or number not in self._listed:
            yield Fault("annotation_of_no_image", where, f"image {str(number)[:40]} is not listed")
        elif number in self._images:  # invalid images were already reported
            image = self._images[number]
            where = f"{where} of {image['file_name'][:200]}"
            if "bbox" in annotation:  # a missing one is taken from the mask
                yield from _check_box(where, annotation["bbox"], image)
            yield from self._check_mask(where, annotation, image)

    def _check_mask(self, where: str, annotation: dict, image: dict) -> Iterator[Fault]:
        height, width = image["height"], image["width"]
        segmentation = annotation.get("segmentation")
        if not segmentation:
            yield Fault("no_mask", where, "it has no segmentation")
            return
        try:
            rle = checked_rle(segmentation, height, width)
        except ValueError as error:
            yield Fault("bad_mask", where, str(error))
            return
        area = int(coco_mask.area(rle))
        if area == 0:
            yield Fault("empty_mask", where, "its mask covers 0 pixels")
            return
        self.lesions[image["file_name"]].append(rle)
        is_polygon = isinstance(segmentation, list)
        if is_polygon and any(_reaches_out(polygon, height, width) for polygon in segmentation):
            yield Fault("mask_outside_image", where, f"a polygon exceeds {width} x {height} pixels")
        box, mask_box = annotation.get("bbox"), [float(v) for v in coco_mask.toBbox(rle)]
        if _is_box(box) and min(box[2:]) > 0 and _farthest(box, mask_box) > BOX_TOLERANCE:
            why = f"its bbox is {box}, the mask's is {mask_box}"
            corners = [*box[:2], box[2] - box[0], box[3] - box[1]]
            # half the tolerance: the corners of a small box could fit by chance
            if _farthest(corners, mask_box) <= BOX_TOLERANCE / 2:
                yield Fault("bad_box", where, f"{why}: x, y, width and height, not two corners")
            else:
                yield Fault("box_not_of_mask", where, why)
        recorded = annotation.get("area", area)
        # tools record the area inside a polygon, which is off by half a pixel along the outline
        slack = max(AREA_TOLERANCE * area, sum(mask_box[2:]) if is_polygon else 0)
        if is_number(recorded) and abs(recorded - area) > slack:
            yield Fault("area_not_of_mask", where, f"its area is {recorded}, the mask's is {area}")


def check_detections(path: str | Path, detections: Sequence, truth: dict) -> None:
    """Check detections in COCO's results format.

    Args:
        path: file named in error messages.
        detections: content of the file.
        truth: content of their dataset, already checked.

    Raises:
        DatasetError: names the first detection that cannot be used.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    categories = {category["id"] for category in truth["categories"]}
    for number, detection in enumerate(detections):
        why = _detection_fault(detection, sizes, categories)
        if why:
            raise DatasetError(f"{path}: detection {number}: {why}. Evaluate the run again.")


def _detection_fault(
    detection: Any, sizes: dict[int, tuple[int, int]], categories: set[int]
) -> str | None:
    if not isinstance(detection, dict) or not isinstance(detection.get("image_id"), int):
        return "it has no image_id"
    category = detection.get("category_id")
    if not is_number(detection.get("score")) or not _is_whole(category):
        return "it has no score or category"
    if category not in categories:
        return f"its category {category} is not in the dataset"
    if not _is_box(detection.get("bbox")):
        return _not_a_box(detection.get("bbox"))
    if detection["image_id"] in sizes:  # the caller counts detections in other images
        if not isinstance(detection.get("segmentation"), dict):
            return "it has no mask"
        try:
            check_segmentation(detection["segmentation"], *sizes[detection["image_id"]])
        except ValueError as error:
            return str(error)
    return None


def _check_box(where: str, box: Any, image: dict) -> Iterator[Fault]:
    if not _is_box(box):
        yield Fault("bad_box", where, _not_a_box(box))
        return
    x, y, width, height = box
    if width == 0 or height == 0:
        yield Fault("flat_box", where, f"its bbox {box} has no width or no height")
    elif _reaches_out([x, y, x + width, y + height], image["height"], image["width"]):
        why = f"its bbox {box} exceeds {image['width']} x {image['height']} pixels"
        yield Fault("box_outside_image", where, why)


def _is_box(box: Any) -> bool:
    return (
        isinstance(box, list) and len(box) == 4 and all(map(is_number, box)) and min(box[2:]) >= 0
    )


def _not_a_box(box: Any) -> str:
    return f"its bbox is {str(box)[:80]}, not x, y, width and height"


def _reaches_out(points: Sequence[float], height: int, width: int) -> bool:
    """Whether any of the points x0, y0, x1, y1, ... lies outside the image."""
    return (
        min(points) < -BOX_TOLERANCE
        or max(points[::2]) > width + BOX_TOLERANCE
        or max(points[1::2]) > height + BOX_TOLERANCE
    )


def _farthest(box: Sequence[float], other: Sequence[float]) -> float:
    """Largest distance in pixels between the same sides of two boxes x, y, width, height."""
    corners = [(x, y, x + width, y + height) for x, y, width, height in (box, other)]
    return max(abs(a - b) for a, b in zip(*corners, strict=True))


def _is_whole(value: Any) -> bool:
    return type(value) is int and value >= 0
