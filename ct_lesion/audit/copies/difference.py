"""Difference of two thumbnails after fitting brightness and contrast, in pixels of displacement.

The residual of the fit, divided by the mean gradient of the image, is about how far, in thumbnail
pixels, one image would have to move to differ as much. It is 0 for copies and grows with the
distance of neighbouring slices, in flat and in detailed images alike. Saturated pixels, which the
display window clipped, get less weight. P pairs, N images.
"""

from __future__ import annotations

import cv2
import numpy as np
from tqdm import tqdm

from ..images.fingerprint import SIDE, saturated_shares, thumbnails
from .orientations import orientation_orders

FAR = 1.0
"""Upper bound: the difference of images that have nothing in common."""
CLEAR = 0.3
"""Above this difference, half the resolution is enough."""
PAIRS = 2048  # compared at a time: their maps take 250 MB at most
_BLUR = 0.8  # thumbnail pixels: less lets JPEG noise count, more hides moving edges
_LEAST_WEIGHT = 0.01  # mean weight of the pixels
_LEAST_SLOPE = 0.5  # grey values per pixel: about the rounding error


def differences(
    fingerprints: np.ndarray, i: np.ndarray, j: np.ndarray, orientation: np.ndarray
) -> np.ndarray:
    """Compare pairs of images.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8.
        i, j: ``(P,)`` indices; sorted ones are faster.
        orientation: ``(P,)`` numbers, applied to image i.

    Returns:
        ``(P,)`` float32, 0..FAR: the geometric mean of the differences at full and half
        resolution, or the latter if it is above CLEAR.
    """
    result = np.full(len(i), FAR, np.float32)
    starts = range(0, len(i), PAIRS)
    for start in tqdm(starts, desc="comparing similar images", leave=False, disable=None):
        part = slice(start, start + PAIRS)
        images, places = np.unique(np.concatenate([i[part], j[part]]), return_inverse=True)
        first, second = np.split(places, 2)
        turn = orientation[part]
        grey, share = thumbnails(fingerprints[images]), saturated_shares(fingerprints[images])
        coarse = _compare(_Maps(_halve(grey), _halve(share)), first, second, turn)
        result[part] = coarse
        near = np.flatnonzero(coarse < CLEAR)
        fine = _compare(_Maps(_blur(grey), _blur(share)), first[near], second[near], turn[near])
        result[start + near] = np.minimum(np.sqrt(coarse[near] * fine), FAR)
    return result


class _Maps:
    """Weights, weighted values and squares, and mean squared gradient of each image.

    Args:
        grey: ``(N, S, S)``.
        share: ``(N, S, S)``, share of saturated pixels.
    """

    def __init__(self, grey: np.ndarray, share: np.ndarray) -> None:
        self.side = grey.shape[1]
        weight = np.clip(1 - 2 * share, 0, 1)
        # centred, for the precision of the sums of squares below
        value = (grey.astype(np.float32) - 110) / 64
        dy, dx = np.gradient(value, axis=(1, 2))
        square = weight * weight
        slope = ((dy * dy + dx * dx) * square).sum((1, 2)) / (square.sum((1, 2)) + 1e-3)
        self.slope = slope + (_LEAST_SLOPE / 64) ** 2
        moments = np.stack([weight, weight * value, weight * value * value], axis=1)
        self.moments = moments.reshape(len(grey), 3, -1)


def _compare(
    maps: _Maps, first: np.ndarray, second: np.ndarray, orientation: np.ndarray
) -> np.ndarray:
    """Differences ``(P,)`` at one resolution, 0..FAR."""
    result = np.full(len(first), FAR, np.float32)
    for number, order in enumerate(orientation_orders(maps.side)):
        own = np.flatnonzero(orientation == number)
        for start in range(0, len(own), 64):  # fits into the CPU cache
            pairs = own[start : start + 64]
            a, b = first[pairs], second[pairs]
            moments = maps.moments[a]
            if number:
                moments = moments[:, :, order]
            # sums over pixels of the powers of one image times the powers of the other
            sums = moments @ maps.moments[b].transpose(0, 2, 1)
            result[pairs] = _residual(sums, maps.slope[a], maps.slope[b], maps.side)
    return result


def _residual(sums: np.ndarray, slope_a: np.ndarray, slope_b: np.ndarray, side: int) -> np.ndarray:
    """Residual of the weighted linear fit of images b to images a, divided by their gradients.

    Args:
        sums: ``(P, 3, 3)``: sums of the weighted powers 0, 1, 2 of a times those of b.
        slope_a, slope_b: ``(P,)`` mean squared gradients.
        side: pixels of a side.
    """
    total = sums[:, 0, 0]
    usable = total > _LEAST_WEIGHT * side * side
    sums = sums / np.where(usable, total, 1)[:, None, None]
    x, y = sums[:, 1, 0], sums[:, 0, 1]
    xx = np.maximum(sums[:, 2, 0] - x * x, 1e-9)
    yy = np.maximum(sums[:, 0, 2] - y * y, 1e-9)
    xy = sums[:, 1, 1] - x * y
    unexplained = np.clip(1 - xy * xy / (xx * yy), 0, 1)
    size = np.sqrt(xx / slope_a * yy / slope_b)
    # the negative of an image is not a copy
    usable &= xy > 0
    return np.where(usable, np.minimum(np.sqrt(unexplained * size), FAR), FAR)


def _halve(maps: np.ndarray) -> np.ndarray:
    half = SIDE // 2
    return maps.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def _blur(maps: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(m.astype(np.float32), (0, 0), _BLUR) for m in maps])
