"""Pictures of the projections of a scan, with its lesions in their colours."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw

from ct_lesion.lesions.projections import NAMES, Projection
from ct_lesion.pages.palette import LESION_COLOURS

from .text import font

SIDE = 480
"""Pixels of the longest side of the three pictures, which share one scale."""
OPACITY = 0.55  # of lesions
LEAST = 8  # pixels of any side


def draw_projections(
    projections: Mapping[str, Projection],
    spacing_mm: Sequence[float | None] | None,
    *,
    sides_known: bool,
    side: int = SIDE,
) -> dict[str, np.ndarray]:
    """Draw the projections to scale.

    Args:
        projections: the projections by name.
        spacing_mm: z, y, x; ``None`` if unknown. Without z, the scan is drawn as high as wide.
        sides_known: whether the patient's right side is known; if so, it is marked "R".
        side: pixels of the longest side.

    Returns:
        (h, w, 3) uint8, RGB, by name.
    """
    count, width = projections["coronal"].mean.shape
    height = projections["axial"].mean.shape[0]
    z, y, x = spacing_mm or (None, 1.0, 1.0)
    extents = ((z or x * width / count) * count, y * height, x * width)
    scale = side / max(extents)
    pixels = [max(LEAST, round(extent * scale)) for extent in extents]
    high, deep, wide = pixels
    sizes = dict(zip(NAMES, ((wide, high), (deep, high), (wide, deep)), strict=True))
    return {
        name: _draw(projection, sizes[name], sides_known and name != "sagittal")
        for name, projection in projections.items()
    }


def _draw(projection: Projection, size: tuple[int, int], mark_right: bool) -> np.ndarray:
    smaller = size[0] * size[1] < projection.mean.size
    method = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    grey = cv2.resize(np.ascontiguousarray(projection.mean), size, interpolation=method)
    numbers = projection.numbers.astype(np.float32)  # OpenCV does not resize int32
    numbers = cv2.resize(numbers, size, interpolation=cv2.INTER_NEAREST).astype(int)
    colours = np.array([ImageColor.getrgb(colour) for colour in LESION_COLOURS], np.float32)
    painted = colours[(numbers - 1) % len(colours)]
    picture = np.repeat(grey[..., None], 3, axis=2).astype(np.float32)
    lesion = numbers > 0
    picture[lesion] += OPACITY * (painted[lesion] - picture[lesion])
    inner = cv2.erode(np.pad(numbers, 1, mode="edge").astype(np.float32), np.ones((3, 3)))
    edge = lesion & (inner[1:-1, 1:-1] != numbers)
    picture[edge] = painted[edge]
    drawn = Image.fromarray(np.rint(picture).astype(np.uint8))
    if mark_right and min(size) > 100:
        ImageDraw.Draw(drawn).text((6, 4), "R", "white", font(16, bold=True))
    return np.asarray(drawn)
