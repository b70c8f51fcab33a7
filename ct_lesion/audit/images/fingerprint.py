"""What of an image is kept to tell copies from others: a thumbnail, and where it is saturated.

A thumbnail pixel is a mean; where some of the pixels under it were cut off by the display window,
a copy through another window has another mean there. So the share of such pixels is kept as well.
N fingerprints, SIDE x SIDE thumbnail pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 64
THUMBNAIL = SIDE * SIDE
LENGTH = THUMBNAIL + THUMBNAIL // 2
"""Bytes of a fingerprint: a byte and four bits a thumbnail pixel; 369 MB for 60,000 images."""
DARKEST, BRIGHTEST = 4, 251
"""Grey values beyond these count as cut off by the window; JPEG blurs 0 and 255 that far."""
LEAST_SIDE = 16  # px of an image
LEAST_USED = 0.02  # share of the thumbnail that is not saturated
LEAST_CONTRAST = 2.0  # grey values, standard deviation of the thumbnail


def make_fingerprint(grey: np.ndarray) -> np.ndarray | None:
    """Fingerprint of an image.

    Args:
        grey: ``(H, W)`` uint8, any size and shape; the thumbnail is square.

    Returns:
        ``(LENGTH,)`` uint8, or ``None`` for an image with too little in it: tiny, almost constant,
        or saturated almost everywhere.
    """
    if min(grey.shape) < LEAST_SIDE:
        return None
    cut = ((grey <= DARKEST) | (grey >= BRIGHTEST)).astype(np.uint8)
    # 240 = 15 * 16: a share becomes four bits without another rounding
    thumbnail, share = _shrink(grey), _shrink(cut * np.uint8(240)) // 16
    if thumbnail.std() < LEAST_CONTRAST or (share < 8).mean() < LEAST_USED:
        return None
    flat = share.reshape(-1, 2)
    return np.concatenate([thumbnail.ravel(), flat[:, 0] << 4 | flat[:, 1]])


def thumbnails(fingerprints: np.ndarray) -> np.ndarray:
    """``(N, SIDE, SIDE)`` uint8 grey values of ``(N, LENGTH)`` fingerprints."""
    return fingerprints[:, :THUMBNAIL].reshape(-1, SIDE, SIDE)


def saturated_shares(fingerprints: np.ndarray) -> np.ndarray:
    """``(N, SIDE, SIDE)`` float32: share of the pixels under each that are cut off, 0..1."""
    packed = fingerprints[:, THUMBNAIL:]
    both = np.stack([packed >> 4, packed & 15], axis=2)
    return both.reshape(-1, SIDE, SIDE).astype(np.float32) / 15


def _shrink(image: np.ndarray) -> np.ndarray:
    larger = min(image.shape) >= SIDE
    how = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=how)
