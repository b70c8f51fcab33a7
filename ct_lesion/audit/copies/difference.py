"""Measures the difference of two thumbnails as a displacement in pixels.

Brightness and contrast are fitted first. The residual of the fit, divided by the mean gradient of
the image, is about the shift in thumbnail pixels that would cause the same residual. It is 0 for
copies and grows with the distance of neighbouring slices, whether the image is flat or detailed.
Pixels that the display window clipped get less weight. P pairs, N images.
"""

from __future__ import annotations

import cv2
import numpy as np
from tqdm import tqdm

from ..images.fingerprint import SIDE, saturated_shares, thumbnails
from .orientations import orientation_orders

FAR = 1.0
"""Largest value: the difference of unrelated images."""
CLEAR = 0.3
"""Pairs that differ more at half resolution are not compared at full resolution."""
PAIRS = 2048  # pairs compared at a time: their maps take 250 MB at most
_BLUR = 0.8  # thumbnail pixels: with less, JPEG noise counts; with more, shifted edges are lost
_LEAST_WEIGHT = 0.01  # mean weight of the pixels of a usable pair
_LEAST_SLOPE = 0.5  # grey values per pixel: about the rounding error


def differences(
    fingerprints: np.ndarray, i: np.ndarray, j: np.ndarray, orientation: np.ndarray
) -> np.ndarray:
    """Compare pairs of images.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8.
        i, j: ``(P,)`` indices; faster if sorted.
        orientation: ``(P,)`` numbers of the orientations that are applied to images i.

    Returns:
        ``(P,)`` float32, 0..FAR: the difference at half resolution if it is at least CLEAR,
        otherwise the geometric mean of the differences at full and at half resolution.
    """
    result = np.full(len(i), FAR, np.float32)
    starts = range(0, len(i), PAIRS)
    for start in tqdm(starts, desc="comparing similar images", leave=False, disable=None):
        part = slice(start, start + PAIRS)
        images, places = np.unique(np.concatenate([i[part], j[part]]), return_inverse=True)
        a, b = np.split(places, 2)
        turn = orientation[part]
        grey, share = thumbnails(fingerprints[images]), saturated_shares(fingerprints[images])
        coarse = _compare(_Maps(_halve(grey), _halve(share)), a, b, turn)
        result[part] = coarse
        near = np.flatnonzero(coarse < CLEAR)
        fine = _compare(_Maps(_blur(grey), _blur(share)), a[near], b[near], turn[near])
        result[start + near] = np.minimum(np.sqrt(coarse[near] * fine), FAR)
    return result


class _Maps:
    """The maps of each image that the comparison needs, S x S pixels.

    Attributes:
        side: S.
        slope: ``(N,)`` mean squared gradient.
        moments: ``(N, 3, S * S)``: weight, weight x value and weight x value squared.
    """

    def __init__(self, grey: np.ndarray, share: np.ndarray) -> None:
        """
        Args:
            grey: ``(N, S, S)`` grey values.
            share: ``(N, S, S)`` share of clipped pixels, 0..1.
        """
        self.side = grey.shape[1]
        weight = np.clip(1 - 2 * share, 0, 1)
        # roughly zero mean and unit variance, so that sums of squares are precise
        value = (grey.astype(np.float32) - 110) / 64
        dy, dx = np.gradient(value, axis=(1, 2))
        square = weight * weight
        slope = ((dy * dy + dx * dx) * square).sum((1, 2)) / (square.sum((1, 2)) + 1e-3)
        self.slope = slope + (_LEAST_SLOPE / 64) ** 2
        moments = np.stack([weight, weight * value, weight * value * value], axis=1)
        self.moments = moments.reshape(len(grey), 3, -1)


def _compare(maps: _Maps, a: np.ndarray, b: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Compute the differences ``(P,)`` of images a and b at one resolution, 0..FAR."""
    result = np.full(len(a), FAR, np.float32)
    for number, order in enumerate(orientation_orders(maps.side)):
        turned = np.flatnonzero(orientation == number)
        for start in range(0, len(turned), 64):  # fits into the CPU cache
            pairs = turned[start : start + 64]
            moments = maps.moments[a[pairs]]
            if number:
                moments = moments[:, :, order]
            # sums over the pixels of the powers of a times the powers of b
            sums = moments @ maps.moments[b[pairs]].transpose(0, 2, 1)
            result[pairs] = _residual(sums, maps.slope[a[pairs]], maps.slope[b[pairs]], maps.side)
    return result


def _residual(sums: np.ndarray, slope_a: np.ndarray, slope_b: np.ndarray, side: int) -> np.ndarray:
    """Compute the residual of the weighted linear fit of b to a, divided by the gradients.

    Args:
        sums: ``(P, 3, 3)``: sums of the weighted powers 0, 1, 2 of a times those of b.
        slope_a, slope_b: ``(P,)`` mean squared gradients.
        side: side of the images in pixels.

    Returns:
        ``(P,)``, 0..FAR.
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
    # a negative correlation is an inverted image, not a copy
    usable &= xy > 0
    return np.where(usable, np.minimum(np.sqrt(unexplained * size), FAR), FAR)


def _halve(maps: np.ndarray) -> np.ndarray:
    half = SIDE // 2
    return maps.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def _blur(maps: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(m.astype(np.float32), (0, 0), _BLUR) for m in maps])
