"""The eight flips and quarter turns of an image."""

from __future__ import annotations

import numpy as np

ORIENTATIONS = (
    *("as it is", "flipped left-right", "flipped up-down", "turned by 180 degrees"),
    *("transposed", "turned by 90 degrees", "turned by 270 degrees", "transposed and turned"),
)
"""Names by number. Angles are counterclockwise; the last one transposes, then turns by 180."""
INVERSE = np.array([0, 1, 2, 3, 4, 6, 5, 7])
"""Number of the inverse of each orientation."""


def orient(image: np.ndarray, orientation: int) -> np.ndarray:
    """Flip or turn an image ``(H, W)``; returns a view.

    Args:
        orientation: index into :data:`ORIENTATIONS`.
    """
    turned = image.T if orientation in (4, 5, 6, 7) else image
    if orientation in (2, 3, 5, 7):
        turned = turned[::-1]
    return turned[:, ::-1] if orientation in (1, 3, 6, 7) else turned


def orientation_orders(side: int) -> np.ndarray:
    """Compute ``(8, side * side)`` pixel indices that apply each orientation to a flat square."""
    pixels = np.arange(side * side).reshape(side, side)
    return np.stack([orient(pixels, number).ravel() for number in range(len(ORIENTATIONS))])
