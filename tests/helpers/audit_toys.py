"""Pictures and annotations for the tests of the audit."""

import cv2
import numpy as np

SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]
"""A polygon of 20 x 20 pixels."""


def good_annotation(**changes: object) -> dict:
    """A valid annotation with some fields changed; ``None`` removes a field."""
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 20, 20],
        "area": 400,
        "segmentation": SQUARE,
        "iscrowd": 0,
    }
    return {key: value for key, value in {**annotation, **changes}.items() if value is not None}


def textured(seed: int, side: int = 64) -> np.ndarray:
    """A smooth random picture that resembles only its own copies."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)
