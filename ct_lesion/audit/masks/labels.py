"""Lesion masks against their images: whether they can be read, and where the lesions lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ct_lesion.data.datasets.lesion_masks import GGO, LUNG
from ct_lesion.errors import DatasetError
from ct_lesion.pictures import LARGEST_PICTURE, read_8_bit

from ..findings import Finding, NotChecked, Severity, count
from ..inputs.slices import AuditInput, AuditSlice
from ..thresholds import FEWEST_LESION_PIXELS, LESION_OUTSIDE, LUNG_NOT_DARKER
from .annotations import CheckedAnnotations
from .lung_field import LungFit, fit_to_lung, lung_darkness


@dataclass
class MaskSummary:
    """Masks of an input.

    Attributes:
        slices: with a mask that could be read.
        lesion_free: of them.
        lesion_area, outside_area: pixels of all lesions, and of those beyond the lung field.
        fitted: slices with a lung field to compare with.
    """

    input: str
    slices: int = 0
    lesion_free: int = 0
    lesion_area: int = 0
    outside_area: int = 0
    fitted: int = 0
    _faults: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def add(self, code: str, place: str) -> None:
        """Note something about a slice."""
        self._faults.setdefault(code, []).append(place)

    def as_dict(self) -> dict[str, Any]:
        """The numbers as plain values."""
        names = ("input", "slices", "lesion_free", "lesion_area", "outside_area", "fitted")
        return {name: getattr(self, name) for name in names}

    def faults(self, code: str) -> list[str]:
        """What was noted."""
        return self._faults.get(code, [])


_KINDS = {
    "mask_does_not_fit": (
        Severity.ERROR,
        "a mask that cannot be used",
        "A mask has the size of its image, 8 bits and the values 0 to 3.",
    ),
    "mask_is_empty": (
        Severity.WARNING,
        "a mask without lung or lesion",
        "Right above and below the lungs only; else the mask was lost.",
    ),
    "mask_beside_lung": (
        Severity.WARNING,
        "a lung field that is not darker than the tissue around it",
        "Is the mask shifted, flipped, or of another slice? Look at both.",
    ),
    "lesion_outside_lung": (
        Severity.WARNING,
        "lesions mostly beyond the lung field",
        "Look at them: another organ, or a mask of another slice.",
    ),
    "lesion_apart_from_lung": (
        Severity.WARNING,
        "a lesion with no lung near it",
        "Look at them: another organ, or a lobe that is all consolidation.",
    ),
}


def check_masks(
    one: AuditInput, annotations: CheckedAnnotations | None
) -> tuple[MaskSummary, list[Finding], list[NotChecked]]:
    """Look at the masks of an input, with progress.

    Args:
        annotations: of an input that is a COCO json.
    """
    summary = MaskSummary(one.name)
    for s in tqdm(one.slices, desc=f"masks of {one.name}", unit="slice", disable=None):
        masks = _masks_of(s, annotations, summary)
        if masks is not None:
            _check_slice(s, *masks, summary)
    findings = list(_as_findings(summary))
    not_checked = []
    if summary.lesion_area and not summary.fitted:
        why = "there is no lung field: label 1 of the masks, or lung_segmentation in the json"
        not_checked.append(NotChecked(f"lesions of {one.name} against the lung field", why))
    return summary, findings, not_checked


def _masks_of(
    s: AuditSlice, annotations: CheckedAnnotations | None, summary: MaskSummary
) -> tuple[np.ndarray | None, np.ndarray] | None:
    """Lung without lesions, if it is known, and lesions; each ``(H, W)`` bool."""
    if s.labels is not None:
        try:
            labels = s.labels()
        except DatasetError as error:
            summary.add("mask_does_not_fit", str(error))
            return None
        if not labels.any():
            summary.add("mask_is_empty", s.key)
        return labels == LUNG, labels >= GGO
    # a size that no slice has is a fault of the json file, which is told
    if annotations is None or s.size is None or not 0 < s.size[0] * s.size[1] <= LARGEST_PICTURE:
        return None
    lesions = _union(annotations.lesions.get(s.key, []), s.size)
    if s.key not in annotations.lungs:
        return None, lesions
    return coco_mask.decode(annotations.lungs[s.key]).astype(bool) & ~lesions, lesions


def _union(rles: list[dict], size: tuple[int, int]) -> np.ndarray:
    if not rles:
        return np.zeros(size[::-1], bool)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def _check_slice(
    s: AuditSlice, lung: np.ndarray | None, lesions: np.ndarray, summary: MaskSummary
) -> None:
    summary.slices += 1
    area = int(lesions.sum())
    summary.lesion_free += area == 0
    summary.lesion_area += area
    fit = None if lung is None else fit_to_lung(lung, lesions)
    if lung is None or fit is None:
        return
    summary.fitted += 1
    summary.outside_area += fit.outside_area
    _note_lesions(s, fit, summary)
    image = None if s.image is None else _read_grey(s.image)
    if image is not None and image.shape == lung.shape:
        darkness = lung_darkness(image, lung, lesions)
        if darkness is not None and darkness < LUNG_NOT_DARKER:
            summary.add("mask_beside_lung", f"{s.key}: darker with a chance of {darkness:.2f}")


def _read_grey(path: Path) -> np.ndarray | None:
    """``(H, W)`` uint8; None if the image is unusable, which the image checks report."""
    try:
        return np.asarray(read_8_bit(path).convert("L"))
    except DatasetError:
        return None


def _note_lesions(s: AuditSlice, fit: LungFit, summary: MaskSummary) -> None:
    if fit.apart:
        areas = ", ".join(f"{area} px" for area in fit.apart[:3])
        summary.add("lesion_apart_from_lung", f"{s.key}: {areas}")
    elif fit.lesion_area >= FEWEST_LESION_PIXELS and fit.outside_share > LESION_OUTSIDE:
        share = f"{100 * fit.outside_share:.0f} % of {fit.lesion_area} px"
        summary.add("lesion_outside_lung", f"{s.key}: {share}")


def _as_findings(summary: MaskSummary) -> Iterator[Finding]:
    for code, (severity, what, advice) in _KINDS.items():
        places = summary.faults(code)
        if places:
            where = f"{summary.input}: {count(len(places), 'slice')} with {what}."
            yield Finding(severity, code, where, places, advice)
    if summary.lesion_free:
        yield Finding(
            Severity.NOTE,
            "slices_without_lesion",
            f"{summary.input}: {summary.lesion_free:,} of {count(summary.slices, 'slice')} "
            "without a lesion.",
            advice="They take no part in training unless DATALOADER.FILTER_EMPTY_ANNOTATIONS is "
            "False.",
        )
