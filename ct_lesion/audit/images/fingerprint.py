"""Fingerprints of images for the copy search: a thumbnail, and the saturated share of its pixels.

A thumbnail pixel is a mean. Where the display window clipped some of the pixels below it, a copy
with another window has another mean, so the share of clipped pixels is kept as well.
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
"""Grey values up to and from these count as clipped; JPEG blurs 0 and 255 that far."""
LEAST_SIDE = 16  # pixels of the image
LEAST_USED = 0.02  # share of the thumbnail that is not saturated
LEAST_CONTRAST = 2.0  # grey values, standard deviation of the thumbnail


def make_fingerprint(grey: np.ndarray) -> np.ndarray | None:
    """Make the fingerprint of an image.

    Args:
        grey: ``(H, W)`` uint8 of any size; the thumbnail is square.

    Returns:
        ``(LENGTH,)`` uint8, or ``None`` for an image with too little detail: tiny, almost constant,
        or almost completely saturated.
    """
    if min(grey.shape) < LEAST_SIDE:
        return None
    cut = ((grey <= DARKEST) | (grey >= BRIGHTEST)).astype(np.uint8)
    # 240 = 15 * 16: a share becomes four bits without a second rounding
    thumbnail, share = _shrink(grey), _shrink(cut * np.uint8(240)) // 16
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
    larger = min(image.shape) >= SIDE
    how = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=how)
