"""Tests whether lesions lie in the lungs, and whether the lung field is dark in the image.

In CNCB's masks lesion labels replace the lung label, so the remaining lung shows only roughly where
the lungs are: consolidation of a whole lobe leaves no lung there. Therefore a lesion counts as
outside only if it is far from the remaining lung (see :mod:`ct_lesion.audit.thresholds`). Shapes:
H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ..thresholds import FEWEST_LESION_PIXELS, LUNG_TOLERANCE

_LEAST_LUNG = 0.002  # share of the image; with less lung, nothing can be compared
_GAP = 2  # width in pixels of the skipped margin around the lung
_RING = 0.03  # width of the ring of tissue around it, as a share of the longer side


@dataclass(frozen=True)
class LungFit:
    """Position of a slice's lesions relative to its lung field.

    Attributes:
        lesion_area: area of all lesions in pixels.
        outside_area: lesion area in pixels outside the convex hull of the lung field, dilated by
            LUNG_TOLERANCE.
        apart: areas in pixels of the lesions without lung within LUNG_TOLERANCE, largest first.
    """

    lesion_area: int
    outside_area: int
    apart: tuple[int, ...]

    @property
    def outside_share(self) -> float:
        """Share of the lesion area that is outside, 0..1; 0 without lesions."""
        return self.outside_area / self.lesion_area if self.lesion_area else 0.0


def fit_to_lung(lung: np.ndarray, lesions: np.ndarray) -> LungFit | None:
    """Compare the position of lesions with the remaining lung.

    Args:
        lung: ``(H, W)`` bool, without lesions.
        lesions: ``(H, W)`` bool.

    Returns:
        The fit; ``None`` if there is too little lung.
    """
    if lung.sum() < _LEAST_LUNG * lung.size:
        return None
    reach = _disk(max(2, round(LUNG_TOLERANCE * max(lung.shape))))
    hull = cv2.convexHull(cv2.findNonZero(lung.astype(np.uint8)))
    field = cv2.fillConvexPoly(np.zeros(lung.shape, np.uint8), hull, 1)
    field = cv2.dilate(field, reach)
    near = cv2.dilate(lung.astype(np.uint8), reach)
    count, components, stats, _ = cv2.connectedComponentsWithStats(
        lesions.astype(np.uint8), connectivity=8
    )
    touched = np.bincount(components.ravel(), weights=near.ravel(), minlength=count)
    areas = stats[1:, cv2.CC_STAT_AREA]
    apart = areas[(touched[1:] == 0) & (areas >= FEWEST_LESION_PIXELS)]
    return LungFit(
        lesion_area=int(lesions.sum()),
        outside_area=int((lesions & (field == 0)).sum()),
        apart=tuple(sorted((int(a) for a in apart), reverse=True)),
    )


def lung_darkness(image: np.ndarray, lung: np.ndarray, lesions: np.ndarray) -> float | None:
    """Compute the probability that a lung pixel is darker than a pixel of the tissue around it.

    It is near 1 if the mask fits its image, with any window; near 0.5 or below if the mask is
    shifted, flipped or from another slice. Ties count half.

    Args:
        image: ``(H, W)`` uint8.
        lung: ``(H, W)`` bool, without lesions.
        lesions: ``(H, W)`` bool; lesions count neither as lung nor as tissue.

    Returns:
        0..1; ``None`` if there is too little lung, or no tissue around it.
    """
    if lung.sum() < _LEAST_LUNG * lung.size:
        return None
    inside = (lung | lesions).astype(np.uint8)
    width = max(2, round(_RING * max(lung.shape)))
    ring = cv2.dilate(inside, _disk(_GAP + width)) > cv2.dilate(inside, _disk(_GAP))
    inner, outer = (np.bincount(image[mask], minlength=256) for mask in (lung, ring))
    if not outer.any():
        return None
    brighter = outer.sum() - np.cumsum(outer)
    return float((inner * (brighter + outer / 2)).sum() / (inner.sum() * outer.sum()))


def _disk(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
