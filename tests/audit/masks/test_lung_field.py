import numpy as np
import pytest

from ct_lesion.audit.masks.lung_field import fit_to_lung, lung_darkness
from ct_lesion.audit.thresholds import LESION_OUTSIDE, LUNG_NOT_DARKER

SIDE = 100  # the tolerance is 3 px


@pytest.fixture
def lung() -> np.ndarray:
    """Two lungs of 25 x 50 pixels."""
    lung = np.zeros((SIDE, SIDE), bool)
    lung[25:75, 15:40] = lung[25:75, 60:85] = True
    return lung


def lesion(rows: slice, columns: slice) -> np.ndarray:
    lesions = np.zeros((SIDE, SIDE), bool)
    lesions[rows, columns] = True
    return lesions


def test_a_lesion_in_the_lung_is_inside(lung):
    lesions = lesion(slice(30, 40), slice(20, 30))
    fit = fit_to_lung(lung & ~lesions, lesions)
    assert (fit.lesion_area, fit.outside_area, fit.apart) == (100, 0, ())


def test_consolidation_at_the_pleura_is_within_the_tolerance(lung):
    lesions = lesion(slice(75, 78), slice(15, 40))  # 3 px beyond the remaining lung
    assert fit_to_lung(lung, lesions).outside_share == 0


def test_consolidation_of_the_dorsal_halves_of_both_lungs_is_not_outside(lung):
    lesions = lung & (np.arange(SIDE) >= 50)[:, None]
    fit = fit_to_lung(lung & ~lesions, lesions)
    assert fit.apart == ()
    assert fit.outside_share == 22 / 25  # the tolerance covers 3 of 25 rows
    assert fit.outside_share < LESION_OUTSIDE


def test_a_lesion_below_the_lungs_is_apart(lung):
    fit = fit_to_lung(lung, lesion(slice(85, 95), slice(45, 55)))
    assert fit.outside_area == 100
    assert fit.apart == (100,)


def test_a_few_stray_pixels_do_not_count_as_a_lesion(lung):
    assert fit_to_lung(lung, lesion(slice(90, 94), slice(45, 50))).apart == ()


def test_without_lung_there_is_no_result(lung):
    assert fit_to_lung(np.zeros_like(lung), lesion(slice(30, 40), slice(20, 30))) is None
    assert lung_darkness(np.zeros((SIDE, SIDE), np.uint8), np.zeros_like(lung), lung) is None


def test_lung_is_darker_than_the_tissue_around_it_unless_the_mask_is_shifted(lung):
    image = np.where(lung, 30, 150).astype(np.uint8)
    none = np.zeros_like(lung)
    assert lung_darkness(image, lung, none) == 1
    assert lung_darkness(255 - image, lung, none) == 0
    assert lung_darkness(np.full_like(image, 80), lung, none) == 0.5
    moved = np.roll(lung, 20, axis=1)
    assert lung_darkness(image, moved, none) < LUNG_NOT_DARKER
