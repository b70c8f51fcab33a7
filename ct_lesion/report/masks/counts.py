"""Counts that compare a program's masks with the truth, and statistics over patients.

Shapes: P patients, M slices, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.lesion_masks import GGO, MASK_TYPES, find_instances
from ct_lesion.evaluation.patient_bootstrap import Statistic
from ct_lesion.evaluation.segmentation_metrics import FOUND_IOU


class SliceCounts(NamedTuple):
    """Counts of a slice.

    Attributes:
        both: pixels that are lesion in the truth and in the program's mask.
        truth, mask: lesion pixels in the truth, and in the program's mask.
        lesions: lesions in the truth.
        found: lesions of the truth that the program found.
        false: lesions of the program that are not in the truth.
    """

    both: int
    truth: int
    mask: int
    lesions: int
    found: int
    false: int

    @property
    def dice(self) -> float:
        """Dice, 0..1; NaN if both masks are empty."""
        total = self.truth + self.mask
        return 2 * self.both / total if total else float("nan")


class PatientCounts(NamedTuple):
    """Sums over a patient's slices; volumes are in ml, or in pixels if the spacing is unknown.

    Attributes:
        slices: number of slices.
        lesion_slices: number of slices with a lesion in the truth.
        slice_dice: sum of the Dice of these slices.
        dice: Dice of all pixels of the patient; NaN without a lesion in the truth.
        lesions, found, false: see :class:`SliceCounts`.
        truth_volume, mask_volume: lesion volume in the truth, and in the program's masks.
    """

    slices: int
    lesion_slices: int
    slice_dice: float
    dice: float
    lesions: int
    found: int
    false: int
    truth_volume: float
    mask_volume: float


MEASURES = {
    "Dice, mean of patients": "patients without a lesion in the truth have no Dice",
    "Dice, mean of slices": "slices without a lesion in the truth have no Dice",
    "lesions found": "fraction of the lesions whose IoU with a predicted lesion is above 0.5",
    "false lesions per slice": "predicted lesions per slice that match no lesion (IoU at most 0.5)",
    "absolute volume error": "mean over patients of |predicted - true|",
    "volume error": "mean over patients of predicted - true",
}


def lesions_of(mask: np.ndarray, min_area: int = 0) -> list[dict]:
    """The 8-connected components of an (H, W) bool mask of at least ``min_area`` pixels, as RLE."""
    if not mask.any():
        return []
    labels = mask.astype(np.uint8) * GGO
    return [lesion.rle for lesion in find_instances(labels, MASK_TYPES["merge"], min_area)]


def count_slice(truth: np.ndarray, mask: np.ndarray, min_area: int = 0) -> SliceCounts:
    """Compare two (H, W) bool masks of a slice.

    A lesion is found if its IoU with a predicted lesion is above 0.5; a predicted lesion is false
    if its IoU with every lesion is at most 0.5, as in
    :func:`ct_lesion.evaluation.segmentation_metrics.lesion_counts`.

    Args:
        min_area: lesions of fewer pixels are not counted, in either mask; Dice and volumes count
            all pixels.
    """
    true, predicted = lesions_of(truth, min_area), lesions_of(mask, min_area)
    hits = np.zeros((len(predicted), len(true)), bool)
    if true and predicted:
        hits = coco_mask.iou(predicted, true, [0] * len(true)) > FOUND_IOU
    return SliceCounts(
        int((truth & mask).sum()),
        int(truth.sum()),
        int(mask.sum()),
        len(true),
        int(hits.any(axis=0).sum()),
        int((~hits.any(axis=1)).sum()),
    )


def count_patient(slices: list[SliceCounts], voxel_ml: float | None) -> PatientCounts:
    """Sum the counts over a patient's slices.

    Args:
        slices: counts of each slice, at least one.
        voxel_ml: volume of a voxel in ml; with None, volumes are in pixels.
    """
    with_lesion = [counts for counts in slices if counts.truth]
    total = SliceCounts(*np.sum(slices, axis=0).tolist())
    size = 1 if voxel_ml is None else voxel_ml
    return PatientCounts(
        slices=len(slices),
        lesion_slices=len(with_lesion),
        slice_dice=sum(counts.dice for counts in with_lesion),
        dice=total.dice if total.truth else float("nan"),
        lesions=total.lesions,
        found=total.found,
        false=total.false,
        truth_volume=total.truth * size,
        mask_volume=total.mask * size,
    )


def patient_statistic(patients: list[PatientCounts]) -> Statistic:
    """The :data:`MEASURES` as a function of patient indices (K,), with repetition."""
    table = np.array(patients, dtype=float)

    def statistic(indices: np.ndarray) -> Mapping[str, float]:
        column = dict(zip(PatientCounts._fields, table[indices].T, strict=True))
        dice, total = column["dice"], {name: values.sum() for name, values in column.items()}
        known = dice[~np.isnan(dice)]
        error = column["mask_volume"] - column["truth_volume"]
        values = (
            _ratio(known.sum(), len(known)),
            _ratio(total["slice_dice"], total["lesion_slices"]),
            _ratio(total["found"], total["lesions"]),
            _ratio(total["false"], total["slices"]),
            float(np.abs(error).mean()),
            float(error.mean()),
        )
        return dict(zip(MEASURES, values, strict=True))

    return statistic


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
