"""Findings about the annotations of a COCO json."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ct_lesion.data.datasets.coco_checks import WARNINGS, CocoChecker

from ..findings import Finding, Severity, count
from ..inputs.json_files import list_of
from ..inputs.slices import AuditInput

_PLURALS = {"image": "images", "category": "categories", "annotation": "annotations"}
_OTHER_SIZE = "Is the annotation of another image, or was the image resized?"
KINDS = {
    "missing_list": ("list", "missing", "A COCO json has images, categories and annotations."),
    "faulty_image": (
        "image",
        "without a valid id or file_name",
        "Correct the json file; annotations could not all be checked.",
    ),
    "repeated_image_id": ("image", "with a repeated id", "Give each image its own id."),
    "no_size": (
        "image",
        "without a valid width and height",
        "Correct the json file; annotations could not all be checked.",
    ),
    "no_lung_field": (
        "image",
        "whose lung_segmentation is null",
        "Leave lung_segmentation out where the lung field is unknown.",
    ),
    "bad_lung_field": (
        "image",
        "with an invalid lung_segmentation",
        "Encode it again from the label mask; counts must add up to height x width.",
    ),
    "faulty_category": ("category", "without a valid id or name", "Correct the json file."),
    "repeated_category_id": ("category", "with a repeated id", "Give each category its own id."),
    "faulty_annotation": (
        "annotation",
        "not a JSON object, or with an invalid id, iscrowd, ignore or area",
        "Correct or remove them.",
    ),
    "annotation_of_no_image": ("annotation", "of an unlisted image", "Remove them."),
    "unknown_category": (
        "annotation",
        "of an unlisted category",
        "Detectron2 maps them to no class or stops: correct category_id or categories.",
    ),
    "repeated_annotation_id": (
        "annotation",
        "with a repeated id",
        "Give each annotation its own id.",
    ),
    "bad_mask": (
        "annotation",
        "with an invalid mask",
        "Encode it again from the label mask; counts must add up to height x width.",
    ),
    "no_mask": (
        "annotation",
        "without a mask",
        "Lesions are learnt and evaluated by their masks: add the segmentation, or remove them.",
    ),
    "empty_mask": (
        "annotation",
        "with a mask of no pixels",
        "Remove them: training skips them, and in evaluation they count as missed.",
    ),
    "bad_box": (
        "annotation",
        "with an invalid bbox",
        "A bbox is x, y, width and height in pixels.",
    ),
    "flat_box": (
        "annotation",
        "with a bbox of no width or height",
        "Remove them: training skips them, and in evaluation they count as missed.",
    ),
    "box_outside_image": ("annotation", "with a bbox that exceeds the image", _OTHER_SIZE),
    "mask_outside_image": ("annotation", "with a polygon that exceeds the image", _OTHER_SIZE),
    "box_not_of_mask": (
        "annotation",
        "whose bbox differs from the mask's",
        "Training uses the bbox as it is.",
    ),
    "area_not_of_mask": (
        "annotation",
        "whose area differs from the mask's",
        "AP by size, and the choice of small lesions, use the recorded area.",
    ),
}
"""What a fault of :class:`CocoChecker` is called: noun, description and advice, by code."""


@dataclass
class CheckedAnnotations:
    """Findings about a COCO json, and its usable masks.

    Attributes:
        lesions: run-length encoded masks of the annotations, by the image's file name.
        lungs: run-length encoded lung fields, by the image's file name; lesions lie in them.
    """

    findings: list[Finding]
    lesions: Mapping[str, Sequence[dict]]
    lungs: Mapping[str, dict]


def check_annotations(one: AuditInput) -> CheckedAnnotations:
    """Check every image, category and annotation of an input that is a COCO json."""
    content = one.coco or {}
    checker = CocoChecker(content)
    places: dict[str, list[str]] = defaultdict(list)
    for fault in checker.faults():
        places[fault.code].append(f"{fault.where}: {fault.why}")
    totals = {noun: len(list_of(content, plural)) for noun, plural in _PLURALS.items()}
    findings = list(_as_findings(one.name, places, totals))
    return CheckedAnnotations(findings, checker.lesions, checker.lungs)


def _as_findings(
    name: str, places: Mapping[str, Sequence[str]], totals: Mapping[str, int]
) -> Iterator[Finding]:
    for code, where in places.items():
        noun, what, advice = KINDS[code]
        number = count(len(where), noun, _PLURALS.get(noun))
        of_total = f" of {totals[noun]:,}" if noun in totals else ""
        yield Finding(
            Severity.WARNING if code in WARNINGS else Severity.ERROR,
            code,
            f"{name}: {number}{of_total} {what}.",
            where,
            advice,
        )
