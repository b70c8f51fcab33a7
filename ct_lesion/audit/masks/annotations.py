"""Makes findings from the faults of a COCO json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ct_lesion.data.datasets.coco_checks import WARNINGS, CocoChecker

from ..findings import Finding, Severity, part
from ..inputs.json_files import list_of
from ..inputs.slices import AuditInput

_OTHER_SIZE = "Check whether the annotation belongs to another image, or the image was resized."
_ENCODE_AGAIN = "Encode the masks again; the counts must add up to height x width."
_NOT_USED = "Remove them: training skips them, and evaluation counts them as missed lesions."
_LISTS = ("images", "categories", "annotations")
KINDS = {
    "missing_list": (
        "required lists",
        "is missing",
        "Add the lists: a COCO json has images, categories and annotations.",
    ),
    "faulty_image": (
        "images",
        "has no valid id or file_name",
        "Correct the json file; annotations could not all be checked.",
    ),
    "repeated_image_id": ("images", "has the id of another image", "Give each image its own id."),
    "no_size": (
        "images",
        "has no valid width and height",
        "Correct the json file; annotations could not all be checked.",
    ),
    "no_lung_field": (
        "images",
        "has a lung_segmentation of null",
        "Remove lung_segmentation from images whose lung field is unknown.",
    ),
    "bad_lung_field": ("images", "has an invalid lung_segmentation", _ENCODE_AGAIN),
    "faulty_category": ("categories", "has no valid id or name", "Correct the json file."),
    "repeated_category_id": (
        "categories",
        "has the id of another category",
        "Give each category its own id.",
    ),
    "faulty_annotation": (
        "annotations",
        "is not a JSON object, or has an invalid id, iscrowd, ignore or area",
        "Correct or remove the annotations.",
    ),
    "annotation_of_no_image": (
        "annotations",
        "has an image_id that is not listed",
        "Add the images, or remove the annotations.",
    ),
    "unknown_category": (
        "annotations",
        "has a category_id that is not listed",
        "Correct category_id, or add the category: Detectron2 needs one for each annotation.",
    ),
    "repeated_annotation_id": (
        "annotations",
        "has the id of another annotation",
        "Give each annotation its own id.",
    ),
    "bad_mask": ("annotations", "has an invalid mask", _ENCODE_AGAIN),
    "no_mask": (
        "annotations",
        "has no mask",
        "Add a segmentation, or remove the annotations: training and evaluation need masks.",
    ),
    "empty_mask": ("annotations", "has an empty mask", _NOT_USED),
    "bad_box": (
        "annotations",
        "has an invalid bbox",
        "Correct the boxes: a bbox is x, y, width and height in pixels.",
    ),
    "flat_box": ("annotations", "has a bbox of width or height 0", _NOT_USED),
    "box_outside_image": ("annotations", "has a bbox that exceeds the image", _OTHER_SIZE),
    "mask_outside_image": ("annotations", "has a polygon that exceeds the image", _OTHER_SIZE),
    "box_not_of_mask": (
        "annotations",
        "has a bbox that does not fit its mask",
        "Correct the boxes: training uses them as they are.",
    ),
    "area_not_of_mask": (
        "annotations",
        "has an area that differs from its mask's",
        "Correct the areas: AP by lesion size uses them.",
    ),
}
"""How each fault of :class:`CocoChecker` is reported, by code: plural noun, predicate, advice."""


@dataclass
class CheckedAnnotations:
    """Findings about a COCO json, and its usable masks.

    Attributes:
        findings: one for each kind of fault.
        lesions: run-length encoded masks of the annotations, by the image's file name.
        lungs: run-length encoded lung fields including lesions, by the image's file name.
    """

    findings: list[Finding]
    lesions: Mapping[str, Sequence[dict]]
    lungs: Mapping[str, dict]


def check_annotations(dataset: AuditInput) -> CheckedAnnotations:
    """Check every image, category and annotation of an input that is a COCO json."""
    content = dataset.coco or {}
    checker = CocoChecker(content)
    places: dict[str, list[str]] = defaultdict(list)
    for fault in checker.faults():
        places[fault.code].append(f"{fault.where}: {fault.why}")
    totals = {key: len(list_of(content, key)) for key in _LISTS} | {"required lists": len(_LISTS)}
    findings = list(_as_findings(dataset.name, places, totals))
    return CheckedAnnotations(findings, checker.lesions, checker.lungs)


def _as_findings(
    name: str, places: Mapping[str, Sequence[str]], totals: Mapping[str, int]
) -> Iterator[Finding]:
    for code, where in places.items():
        things, what, advice = KINDS[code]
        severity = Severity.WARNING if code in WARNINGS else Severity.ERROR
        what = f"{name}: {part(len(where), totals[things], things, what)}."
        yield Finding(severity, code, what, where, advice)
