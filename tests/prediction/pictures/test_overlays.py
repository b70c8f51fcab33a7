import numpy as np
import pytest
from PIL import ImageColor
from predicted_scans import LESION_CLASSES as CLASSES
from predicted_scans import toy_detection

from ct_lesion.pages.palette import lesion_colour
from ct_lesion.prediction.pictures.overlays import draw_overlay
from ct_lesion.prediction.slices import Detection


def square(class_name: str, x: int, y: int, side: int, size: int) -> Detection:
    mask = np.zeros((size, size), bool)
    mask[y : y + side, x : x + side] = True
    return toy_detection(mask, 0.83, CLASSES.index(class_name))


def near(image: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(image.astype(int) - ImageColor.getrgb(colour)).max(-1) < 60


@pytest.mark.parametrize("size", [256, 512])
def test_the_outline_is_where_the_lesion_is(size):
    grey = np.full((size, size), 40, np.uint8)
    image = draw_overlay(grey, [square("GGO", 100, 120, 60, size)], [1], "Scan", CLASSES)
    factor = 512 // size
    assert image.dtype == np.uint8 and image.shape[1] == 512 and image.shape[0] > 512
    drawn = near(image[:512], lesion_colour(1))
    # the score is above the lesion, so the lesion's rows show its left and right edges only
    rows = drawn[130 * factor : 170 * factor]
    left, right = np.flatnonzero(rows.all(0))[[0, -1]]
    assert abs(left - 100 * factor) <= 1 and abs(right - 160 * factor) <= 1
    inside = image[125 * factor : 175 * factor, 105 * factor : 155 * factor]
    assert (inside == 40).all(), "the inside of the lesion is not painted over"


def test_lesions_differ_by_colour_and_classes_by_dashes():
    grey = np.zeros((512, 512), np.uint8)
    image = draw_overlay(grey, [square("Consolidation", 100, 120, 60, 512)], [2], "Scan", CLASSES)
    assert not near(image[:512], lesion_colour(1)).any()
    drawn = near(image[130:170, 98:103], lesion_colour(2)).any(1)
    assert 0.3 < drawn.mean() < 0.9


def test_slices_without_lesion_long_captions_and_lesions_at_the_border():
    grey = np.full((256, 300), 90, np.uint8)
    image = draw_overlay(grey, [], [], "x" * 300, CLASSES)
    assert (image[: 256 * 2, : 300 * 2] == 90).all()
    assert image.shape == (image.shape[0], 600, 3) and image[512:].max() > 200
    whole = toy_detection(np.ones((256, 300), bool))
    empty = toy_detection(np.zeros((256, 300), bool))
    assert draw_overlay(grey, [whole, empty], [1, 0], "", CLASSES).shape[1] == 600
