"""Checks lesion masks: they can be read, fit their images, and lesions lie in the lungs."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from tqdm import tqdm

from ct_lesion.data.datasets.lesion_masks import GGO, LUNG
from ct_lesion.errors import DatasetError
from ct_lesion.pictures import LARGEST_PICTURE, read_8_bit

from ..findings import FaultKind, Finding, NotChecked, Severity, part, report_faults
from ..inputs.slices import AuditInput, AuditSlice
from ..thresholds import FEWEST_LESION_PIXELS, LESION_OUTSIDE, LUNG_NOT_DARKER
from .annotations import CheckedAnnotations
from .lung_field import LungFit, fit_to_lung, lung_darkness

Faults = dict[str, list[str]]
"""Places of the faults, by code."""


@dataclass
class MaskSummary:
    """Counts over the masks of an input.

    Attributes:
        input: name of the input.
        slices: number of slices with a readable mask.
        lesion_free: number of these slices without a lesion.
        lesion_area: area of all lesions in pixels.
        fitted: number of slices with a lung field to compare with.
        compared_area: area of the lesions of these slices in pixels.
        outside_area: area of these lesions beyond the lung field in pixels.
    """

    input: str
    slices: int = 0
    lesion_free: int = 0
    lesion_area: int = 0
    fitted: int = 0
    compared_area: int = 0
    outside_area: int = 0

    @property
    def outside_share(self) -> float | None:
        """Share of the compared lesion area that lies outside, 0..1; ``None`` if there is none."""
        return self.outside_area / self.compared_area if self.compared_area else None


_KINDS = {
    "mask_does_not_fit": FaultKind(
        Severity.ERROR,
        "has an unusable mask",
        "Correct the masks: a mask has the size of its image, 8 bits and the values 0 to 3.",
    ),
    "mask_is_empty": FaultKind(
        Severity.WARNING,
        "has an empty mask, without lung or lesion",
        "Check the slices: this is expected only above and below the lungs.",
    ),
    "mask_beside_lung": FaultKind(
        Severity.WARNING,
        "has a lung field that is not darker than the tissue around it",
        "Compare mask and image: the mask may be shifted, flipped or from another slice.",
    ),
    "lesion_outside_lung": FaultKind(
        Severity.WARNING,
        "has lesions mostly outside the lung field",
        "Check the masks: they may mark another organ, or be from another slice.",
    ),
    "lesion_apart_from_lung": FaultKind(
        Severity.WARNING,
        "has a lesion without lung near it",
        "Check the masks: they may mark another organ, or a lobe that is all consolidation.",
    ),
}


def check_masks(
    dataset: AuditInput, annotations: CheckedAnnotations | None
) -> tuple[MaskSummary, list[Finding], list[NotChecked]]:
    """Check the masks of an input, with a progress bar.

    Args:
        dataset: input with label masks or COCO annotations.
        annotations: the checked annotations, if the input is a COCO json.

    Returns:
        The counts, the findings, and the checks that could not be made.
    """
    summary, faults = MaskSummary(dataset.name), defaultdict(list)
    for s in tqdm(dataset.slices, desc=f"masks of {dataset.name}", unit="slice", disable=None):
        masks = _masks_of(s, annotations, faults)
        if masks is not None:
            _check_slice(s, *masks, summary, faults)
    findings = list(report_faults(_KINDS, faults, dataset.name, "slices", len(dataset.slices)))
    if summary.lesion_free:
        share = part(summary.lesion_free, summary.slices, "slices with a mask", "has no lesion")
        what = f"{dataset.name}: {share}."
        advice = "Training skips them unless DATALOADER.FILTER_EMPTY_ANNOTATIONS is False."
        findings.append(Finding(Severity.NOTE, "slices_without_lesion", what, advice=advice))
    not_checked = []
    if summary.lesion_area and not summary.fitted:
        why = "there is no lung field: neither label 1 in the masks nor lung_segmentation"
        not_checked.append(NotChecked(f"lesions of {dataset.name} against the lung field", why))
    return summary, findings, not_checked


def _masks_of(
    s: AuditSlice, annotations: CheckedAnnotations | None, faults: Faults
) -> tuple[np.ndarray | None, np.ndarray] | None:
    """Read the lung without lesions and the lesions of a slice, ``(H, W)`` bool each.

    The lung is ``None`` if it is unknown, the result is ``None`` if there is no usable mask.
    """
    if s.labels is not None:
        try:
            labels = s.labels()
        except DatasetError as error:
            faults["mask_does_not_fit"].append(str(error))
            return None
        if not labels.any():
            faults["mask_is_empty"].append(s.key)
        return labels == LUNG, labels >= GGO
    # the annotation checks report impossible sizes
    if annotations is None or s.size is None or not 0 < s.size[0] * s.size[1] <= LARGEST_PICTURE:
        return None
    rles = annotations.lesions.get(s.key, [])
    lesions = np.zeros(s.size[::-1], bool)
    if rles:
        lesions = coco_mask.decode(coco_mask.merge(rles)).astype(bool)
    if s.key not in annotations.lungs:
        return None, lesions
    return coco_mask.decode(annotations.lungs[s.key]).astype(bool) & ~lesions, lesions


def _check_slice(
    s: AuditSlice,
    lung: np.ndarray | None,
    lesions: np.ndarray,
    summary: MaskSummary,
    faults: Faults,
) -> None:
    summary.slices += 1
    area = int(lesions.sum())
    summary.lesion_free += area == 0
    summary.lesion_area += area
    fit = None if lung is None else fit_to_lung(lung, lesions)
    if lung is None or fit is None:
        return
    summary.fitted += 1
    summary.compared_area += fit.lesion_area
    summary.outside_area += fit.outside_area
    _check_position(s, fit, faults)
    image = None if s.image is None else _read_grey(s.image)
    if image is not None and image.shape == lung.shape:
        darkness = lung_darkness(image, lung, lesions)
        if darkness is not None and darkness < LUNG_NOT_DARKER:
            place = f"{s.key}: darker with probability {darkness:.2f}"
            faults["mask_beside_lung"].append(place)


def _read_grey(path: Path) -> np.ndarray | None:
    """Read an image as ``(H, W)`` uint8; ``None`` if unusable, which the image checks report."""
    try:
        return np.asarray(read_8_bit(path).convert("L"))
    except DatasetError:
        return None


def _check_position(s: AuditSlice, fit: LungFit, faults: Faults) -> None:
    if fit.apart:
        areas = ", ".join(f"{area} px" for area in fit.apart[:3])
        faults["lesion_apart_from_lung"].append(f"{s.key}: lesion of {areas}")
    elif fit.lesion_area >= FEWEST_LESION_PIXELS and fit.outside_share > LESION_OUTSIDE:
        share = f"{100 * fit.outside_share:.0f} % of {fit.lesion_area} px"
        faults["lesion_outside_lung"].append(f"{s.key}: {share} outside")
