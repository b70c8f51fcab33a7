"""How much two thumbnails differ once brightness and contrast are fitted, in pixels of movement.

The residual of the fit is divided by the slope of the image: what is left is about how far, in
thumbnail pixels, one image would have to move to differ so much. It is 0 for copies and grows with
the distance of neighbouring slices, in flat images and in detailed ones. Pixels that a window has
cut off in either image count the less the more of them were. P pairs, N images.
"""

from __future__ import annotations

import cv2
import numpy as np

from ..images.fingerprint import SIDE, saturated_shares, thumbnails
from .orientations import orientation_orders

FAR = 1.0
"""The difference of images that have nothing in common, and of all that differ more."""
CLEAR = 0.3
"""From here on half the resolution is enough."""
PAIRS = 2048  # taken at a time: their maps take 250 MB at most
_BLUR = 0.8  # thumbnail pixels: less, and JPEG's noise counts; more, and edges move unseen
_LEAST_WEIGHT = 0.01  # of all pixels
_LEAST_SLOPE = 0.5  # grey values a pixel: about what rounding makes


def differences(
    fingerprints: np.ndarray, i: np.ndarray, j: np.ndarray, orientation: np.ndarray
) -> np.ndarray:
    """Differences of pairs of images.

    Args:
        fingerprints: ``(N, LENGTH)`` uint8.
        i, j: ``(P,)`` indices, best sorted.
        orientation: ``(P,)``, applied to image i.

    Returns:
        ``(P,)`` float32, 0..FAR: the geometric mean of the differences at full and at half
        resolution, or the latter where it is above CLEAR.
    """
    result = np.full(len(i), FAR, np.float32)
    for start in range(0, len(i), PAIRS):
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
    """Of each image its weights, the weighted values and squares, and its slope.

    Args:
        grey: ``(N, S, S)``.
        share: ``(N, S, S)``, of cut off pixels.
    """

    def __init__(self, grey: np.ndarray, share: np.ndarray) -> None:
        self.side = grey.shape[1]
        weight = np.clip(1 - 2 * share, 0, 1)
        # centred, so that the sums of squares below keep their digits
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
    """Differences ``(P,)`` at one resolution, not above FAR."""
    result = np.full(len(first), FAR, np.float32)
    for number, order in enumerate(orientation_orders(maps.side)):
        own = np.flatnonzero(orientation == number)
        for start in range(0, len(own), 64):  # what fits the processor's cache
            pairs = own[start : start + 64]
            a, b = first[pairs], second[pairs]
            moments = maps.moments[a]
            if number:
                moments = moments[:, :, order]
            # all sums over pixels of a power of one image times a power of the other
            sums = moments @ maps.moments[b].transpose(0, 2, 1)
            result[pairs] = _residual(sums, maps.slope[a], maps.slope[b], maps.side)
    return result


def _residual(sums: np.ndarray, slope_a: np.ndarray, slope_b: np.ndarray, side: int) -> np.ndarray:
    """Residual of the weighted linear fit of images b on images a, over their slopes.

    Args:
        sums: ``(P, 3, 3)``: of the weighted powers 0, 1, 2 of a times those of b.
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
    # a negative of an image is no copy of it
    usable &= xy > 0
    return np.where(usable, np.minimum(np.sqrt(unexplained * size), FAR), FAR)


def _halve(maps: np.ndarray) -> np.ndarray:
    half = SIDE // 2
    return maps.reshape(-1, half, 2, half, 2).mean((2, 4), dtype=np.float32)


def _blur(maps: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(m.astype(np.float32), (0, 0), _BLUR) for m in maps])
