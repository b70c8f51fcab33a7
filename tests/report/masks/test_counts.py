"""Counts and statistics of masks, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from ct_lesion.report.masks.counts import (
    MEASURES,
    SliceCounts,
    count_patient,
    count_slice,
    patient_statistic,
)


def boxes(*corners: tuple[int, int, int, int]) -> np.ndarray:
    """A (20, 20) mask with filled boxes ``y0, y1, x0, x1``."""
    mask = np.zeros((20, 20), bool)
    for y0, y1, x0, x1 in corners:
        mask[y0:y1, x0:x1] = True
    return mask


def test_a_slice_by_hand():
    # first lesion: 16 px, 12 of them predicted, IoU 12/16; second: 8 px, 4 predicted, IoU 4/12
    truth = boxes((0, 4, 0, 4), (10, 12, 10, 14))
    mask = boxes((0, 3, 0, 4), (10, 12, 12, 16), (18, 19, 0, 1))
    counts = count_slice(truth, mask)
    assert counts == SliceCounts(both=16, truth=24, mask=21, lesions=2, found=1, false=2)
    assert counts.dice == pytest.approx(32 / 45)
    assert count_slice(truth, mask, min_area=2) == counts._replace(false=1)
    assert count_slice(truth, mask, min_area=9) == counts._replace(lesions=1, false=0)


def test_iou_of_one_half_is_not_enough():
    counts = count_slice(boxes((0, 1, 0, 2)), boxes((0, 1, 0, 1)))
    assert (counts.found, counts.false) == (0, 1)


def test_pixels_that_touch_at_a_corner_are_one_lesion():
    assert count_slice(boxes((0, 1, 0, 1), (1, 2, 1, 2)), boxes()).lesions == 1


def test_empty_masks():
    nothing = boxes()
    assert count_slice(nothing, nothing) == SliceCounts(0, 0, 0, 0, 0, 0)
    assert math.isnan(count_slice(nothing, nothing).dice)
    assert count_slice(boxes((0, 1, 0, 1)), nothing).dice == 0


def test_statistic_of_three_patients_by_hand():
    full = count_patient(
        [SliceCounts(10, 10, 30, 1, 1, 2), SliceCounts(10, 10, 10, 1, 0, 0)], voxel_ml=0.5
    )
    assert full.dice == pytest.approx(40 / 60)
    assert (full.truth_volume, full.mask_volume) == (10, 20)
    missed = count_patient([SliceCounts(0, 8, 0, 2, 0, 0)], voxel_ml=0.5)
    healthy = count_patient([SliceCounts(0, 0, 4, 0, 0, 1)], voxel_ml=0.5)
    statistic = patient_statistic([full, missed, healthy])
    # slices: Dice 0.5, 1 and 0; volume errors +10, -4 and +2 ml
    expected = [(2 / 3 + 0) / 2, 1.5 / 3, 1 / 4, 3 / 4, 16 / 3, 8 / 3]
    assert statistic(np.arange(3)) == pytest.approx(dict(zip(MEASURES, expected, strict=True)))
    twice = statistic(np.array([0, 0, 2]))  # a patient drawn twice counts twice
    expected = [2 / 3, 3 / 4, 2 / 4, 5 / 5, 22 / 3, 22 / 3]
    assert twice == pytest.approx(dict(zip(MEASURES, expected, strict=True)))
    alone = statistic(np.array([2]))
    assert math.isnan(alone["Dice, mean of patients"]) and math.isnan(alone["lesions found"])


def test_without_spacing_volumes_are_pixels():
    counts = count_patient([SliceCounts(1, 5, 3, 1, 0, 1)], voxel_ml=None)
    assert (counts.truth_volume, counts.mask_volume) == (5, 3)
