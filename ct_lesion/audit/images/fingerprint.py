"""Fingerprints of images for the copy search: a thumbnail, and the clipped share of each pixel.

A thumbnail pixel is the mean of several image pixels. Where the display window clipped some of
them, a copy with another window has another mean; so the share of clipped pixels is stored too.
N fingerprints, SIDE x SIDE thumbnail pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 64
THUMBNAIL = SIDE * SIDE
LENGTH = THUMBNAIL + THUMBNAIL // 2
"""Bytes of a fingerprint: 12 bits for each thumbnail pixel; 369 MB for 60,000 images."""
DARKEST, BRIGHTEST = 4, 251
"""Grey values <= DARKEST or >= BRIGHTEST count as clipped: JPEG changes 0 and 255 by up to 4."""
LEAST_SIDE = 16  # pixels of the image's shorter side
LEAST_USED = 0.02  # share of thumbnail pixels that are less than half clipped
LEAST_CONTRAST = 2.0  # standard deviation of the thumbnail's grey values


def make_fingerprint(grey: np.ndarray) -> np.ndarray | None:
    """Make the fingerprint of an image.

    Args:
        grey: ``(H, W)`` uint8 of any size; the thumbnail is square.

    Returns:
        ``(LENGTH,)`` uint8, or ``None`` for an image with too little detail: tiny, almost constant,
        or almost completely clipped.
    """
    if min(grey.shape) < LEAST_SIDE:
        return None
    clipped = ((grey <= DARKEST) | (grey >= BRIGHTEST)).astype(np.uint8)
    # 240 = 15 * 16: the share fits into four bits without a second rounding
    thumbnail, share = _shrink(grey), _shrink(clipped * np.uint8(240)) // 16
    if thumbnail.std() < LEAST_CONTRAST or (share < 8).mean() < LEAST_USED:
        return None
    flat = share.reshape(-1, 2)
    return np.concatenate([thumbnail.ravel(), flat[:, 0] << 4 | flat[:, 1]])


def thumbnails(fingerprints: np.ndarray) -> np.ndarray:
    """Unpack ``(N, SIDE, SIDE)`` uint8 grey values from ``(N, LENGTH)`` fingerprints."""
    return fingerprints[:, :THUMBNAIL].reshape(-1, SIDE, SIDE)


def saturated_shares(fingerprints: np.ndarray) -> np.ndarray:
    """Unpack ``(N, SIDE, SIDE)`` float32 shares of clipped pixels, 0..1."""
    packed = fingerprints[:, THUMBNAIL:]
    both = np.stack([packed >> 4, packed & 15], axis=2)
    return both.reshape(-1, SIDE, SIDE).astype(np.float32) / 15


def _shrink(image: np.ndarray) -> np.ndarray:
    method = cv2.INTER_AREA if min(image.shape) >= SIDE else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=method)
