"""Outlines of masks, in slice coordinates: pixel ``i`` covers ``i`` to ``i + 1``."""

import cv2
import numpy as np

FINER = 4
"""Masks are upsampled by this factor, so that the outlines follow the pixel edges."""
TOLERANCE_PX = 0.3
"""Largest shift by polygon simplification; with the error of the finer grid, below half a pixel."""


def find_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Closed, simplified outlines of a mask and of its holes.

    The outlines run half-way between the pixels inside and outside, and filled by the even-odd rule
    they give the mask. (OpenCV's outlines run through the centres of the outermost pixels, which
    cuts off half a pixel all around.)

    Args:
        mask: (H, W) bool.

    Returns:
        An (N, 2) float array of x, y corners for each outline; no outlines for an empty mask.
    """
    pixels = np.asarray(mask, np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)
    if width == 0:
        return []
    part = np.pad(pixels[y : y + height, x : x + width], 1)
    rings, _ = cv2.findContours(_upsample(part), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP(ring, TOLERANCE_PX * FINER, True)[:, 0] for ring in rings]
    return [ring / FINER + (x - 1, y - 1) for ring in corners if len(ring) > 2]


def _upsample(pixels: np.ndarray) -> np.ndarray:
    """The mask, 0 or 1, interpolated at the positions ``k / FINER``, which include pixel edges."""
    height, width = pixels.shape
    to_pixel_indices = np.array([[1 / FINER, 0, -0.5], [0, 1 / FINER, -0.5]])
    size = (width * FINER + 1, height * FINER + 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(pixels * np.uint8(254), to_pixel_indices, size, flags=flags)
    return (fine >= 127).astype(np.uint8)  # half of 254; points on an edge are inside
