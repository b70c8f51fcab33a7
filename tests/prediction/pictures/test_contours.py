import cv2
import numpy as np
import pytest

from ct_lesion.prediction.pictures.overlays import find_contours

FINE = 16  # factor of the fine raster on which outlines are filled


def filled(rings: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The outlines filled by the even-odd rule, sampled at the pixel centres of a fine raster."""
    canvas = np.zeros((shape[0] * FINE, shape[1] * FINE), np.uint8)
    cv2.fillPoly(canvas, [np.round(ring * FINE - 0.5).astype(np.int32) for ring in rings], 1)
    return canvas.astype(bool)


def blobs() -> np.ndarray:
    noise = np.random.default_rng(3).normal(size=(60, 80)).astype(np.float32)
    mask = cv2.GaussianBlur(noise, (0, 0), 4) > 0.05
    mask[[0, -1]] = mask[:, [0, -1]] = False  # no blob touches the border
    return mask


def area(rings: list[np.ndarray]) -> float:
    """Area inside the outlines; holes are oriented the other way and count negative."""
    return abs(sum(cv2.contourArea(ring.astype(np.float32), oriented=True) for ring in rings))


def test_filled_outlines_give_the_mask():
    mask = blobs()
    rings = find_contours(mask)
    inside = filled(rings, mask.shape)
    centres = inside[FINE // 2 :: FINE, FINE // 2 :: FINE]
    assert (centres == mask).all()
    assert area(rings) == pytest.approx(mask.sum(), rel=0.02)


def test_outlines_stay_within_half_a_pixel_of_the_edge():
    mask = blobs()
    fine = np.kron(mask, np.ones((FINE, FINE), bool))
    inside = filled(find_contours(mask), mask.shape)
    # distance of each fine pixel to the mask's edge, in fine pixels
    away = np.where(
        fine,
        cv2.distanceTransform(fine.astype(np.uint8), cv2.DIST_L2, 5),
        cv2.distanceTransform((~fine).astype(np.uint8), cv2.DIST_L2, 5),
    )
    assert away[inside != fine].max() / FINE <= 0.5


def test_a_square_at_the_corner_of_the_slice_and_a_single_pixel():
    mask = np.zeros((10, 12), bool)
    mask[:4, :5] = True
    (ring,) = find_contours(mask)
    np.testing.assert_allclose(ring.min(0), [0, 0], atol=0.15)
    np.testing.assert_allclose(ring.max(0), [5, 4], atol=0.15)
    single = np.zeros((10, 12), bool)
    single[9, 11] = True
    (ring,) = find_contours(single)
    np.testing.assert_allclose(ring.mean(0), [11.5, 9.5], atol=0.1)


def test_a_hole_has_its_own_outline_and_an_empty_mask_has_none():
    mask = np.zeros((20, 20), bool)
    mask[2:18, 2:18] = True
    mask[7:13, 7:13] = False
    rings = find_contours(mask)
    assert len(rings) == 2
    assert area(rings) == pytest.approx(mask.sum(), rel=0.02)
    assert find_contours(np.zeros((5, 5), bool)) == []
