"""Outlines of masks, in pixels of the slice: pixel ``i`` reaches from ``i`` to ``i + 1``."""

import cv2
import numpy as np
from pycocotools import mask as coco_mask

FINER = 4
"""Masks are outlined on a grid this many times as fine, so that the outline follows their edge."""
TOLERANCE_PX = 0.3
"""How far simplifying may move an outline: with the finer grid's own error under half a pixel."""


def find_contours(mask: np.ndarray | dict) -> list[np.ndarray]:
    """The closed outlines of a mask, of its holes as well, simplified.

    An outline runs half-way between the pixels inside and those outside; filled by the even-odd
    rule, the outlines give the mask. (An outline through the centres of the mask's own outermost
    pixels, as OpenCV gives it, would cut half a pixel off all around.)

    Args:
        mask: ``(H, W)`` bool, or COCO's run-length encoding of it.

    Returns:
        Each ``(N, 2)`` float, x and y of its corners; empty without a pixel set.
    """
    pixels = coco_mask.decode(mask) if isinstance(mask, dict) else np.asarray(mask, np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)
    if width == 0:
        return []
    part = np.pad(pixels[y : y + height, x : x + width], 1)
    found, _ = cv2.findContours(_finer(part), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP(ring, TOLERANCE_PX * FINER, True)[:, 0] for ring in found]
    return [ring / FINER + (x - 1, y - 1) for ring in corners if len(ring) > 2]


def _finer(pixels: np.ndarray) -> np.ndarray:
    """The mask between its pixels, 0 or 1; place ``k`` is at ``k / FINER``, so on edges as well."""
    height, width = pixels.shape
    back = np.array([[1 / FINER, 0, -0.5], [0, 1 / FINER, -0.5]])  # to indices of pixels
    size = (width * FINER + 1, height * FINER + 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(pixels * np.uint8(254), back, size, flags=flags)
    return (fine >= 127).astype(np.uint8)  # half-way; an edge itself is inside
