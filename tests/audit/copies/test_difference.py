"""Differences of images after fitting brightness and contrast."""

import numpy as np
import pytest
from scipy.ndimage import shift
from thin_scans import thin_slices

from ct_lesion.audit.copies.difference import FAR, differences
from ct_lesion.audit.copies.kinds import jpeg, rewindow, turn
from ct_lesion.audit.images.fingerprint import (
    LENGTH,
    SIDE,
    make_fingerprint,
    saturated_shares,
    thumbnails,
)


def apart(one: np.ndarray, two: np.ndarray, orientation: int = 0) -> float:
    both = np.stack([make_fingerprint(one), make_fingerprint(two)])
    return float(differences(both, np.array([0]), np.array([1]), np.array([orientation]))[0])


def test_fingerprint_holds_means_and_saturated_shares() -> None:
    image = np.random.default_rng(0).integers(50, 200, (2 * SIDE, 2 * SIDE)).astype(np.uint8)
    image[:2, :2] = 255, 100  # the first thumbnail pixel: columns of 255 and of 100
    image[2:4, :2] = 0
    fingerprint = make_fingerprint(image)
    assert fingerprint.shape == (LENGTH,)
    means = image.reshape(SIDE, 2, SIDE, 2).mean((1, 3))
    assert np.abs(thumbnails(fingerprint[None])[0] - means).max() <= 0.5
    shares = saturated_shares(fingerprint[None])[0]
    assert shares[0, 0] == pytest.approx(0.5, abs=0.05) and shares[1, 0] == 1
    assert shares.sum() == pytest.approx(1.5, abs=0.05)


def test_images_with_too_little_detail_have_no_fingerprint() -> None:
    assert make_fingerprint(np.full((64, 64), 100, np.uint8)) is None
    assert make_fingerprint(np.zeros((12, 500), np.uint8)) is None
    black_and_white = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(np.uint8) * 255
    assert make_fingerprint(black_and_white) is None


def test_brightness_and_contrast_are_ignored() -> None:
    image = thin_slices()[0] // 2 + 60
    darker = (image * 0.8 + 3).astype(np.uint8)
    assert apart(image, image) < 1e-3
    assert apart(image, darker) < 0.02
    assert apart(image, 255 - image) == FAR


def test_a_displacement_is_measured_in_thumbnail_pixels() -> None:
    rows, columns = np.mgrid[:256, :256] / 256
    waves = 110 + 45 * np.sin(12 * rows) + 45 * np.sin(9 * columns)
    for pixels in (0.2, 0.4):
        moved = shift(waves, pixels * 256 / SIDE, order=3, mode="nearest")
        # moved by ``pixels`` along both axes; at half resolution it is half as many pixels, and the
        # result is the geometric mean of both
        measured = apart(waves.astype(np.uint8), moved.astype(np.uint8))
        assert measured == pytest.approx(pixels / np.sqrt(2), rel=0.1)


def test_copies_are_closer_than_neighbouring_slices() -> None:
    one, neighbour = thin_slices()[:2]
    between = apart(one, neighbour)
    assert apart(one, jpeg(75)(one)) < 0.5 * between
    # the window clips most of the chest wall; clipped pixels are ignored
    assert apart(one, rewindow(-600, 1200)(one)) < 0.5 * between


def test_the_orientation_is_applied_to_the_first_image() -> None:
    image = thin_slices()[0]
    for orientation in range(1, 8):
        turned = turn(orientation)(image)
        assert apart(image, turned, orientation) < 1e-3
        assert apart(image, turned, 0) > 0.2


def test_a_difference_is_the_same_alone_and_in_a_batch() -> None:
    images = thin_slices()[:12]
    prints = np.stack([make_fingerprint(image) for image in images])
    i, j = np.triu_indices(len(images), 1)
    together = differences(prints, i, j, np.zeros_like(i))
    alone = [apart(images[a], images[b]) for a, b in zip(i, j, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)
