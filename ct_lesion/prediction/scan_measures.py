"""Areas, volumes and the summary of a scan, from what was found in its slices.

Lengths in mm, areas in pixels and mm2, volumes in ml. Where a scan has no spacing (pictures), what
needs it is ``None``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .slices import SlicePrediction


@dataclass(frozen=True)
class SliceMeasures:
    """Of one slice.

    Attributes:
        lesion_px: pixels that belong to any lesion.
        lung_px: pixels of the lung mask, if one was given.
        lesion_in_lung_px: pixels of both, if one was given.
    """

    lesion_px: int
    lung_px: int | None = None
    lesion_in_lung_px: int | None = None

    @property
    def share_of_lung(self) -> float | None:
        """0..1; ``None`` without a lung mask, or in a slice without lung."""
        return self.lesion_in_lung_px / self.lung_px if self.lung_px else None


def measure_slice(labels: np.ndarray, lung: np.ndarray | None = None) -> SliceMeasures:
    """Measure a slice.

    Args:
        labels: (H, W), 0 where there is no lesion.
        lung: (H, W), 0 where there is no lung.
    """
    lesion = labels > 0
    if lung is None:
        return SliceMeasures(int(lesion.sum()))
    inside = np.asarray(lung) > 0
    return SliceMeasures(int(lesion.sum()), int(inside.sum()), int((lesion & inside).sum()))


def pixel_mm2(spacing_mm: Sequence[float] | None) -> float | None:
    """Area of a pixel, from spacing z, y, x."""
    return None if spacing_mm is None else spacing_mm[1] * spacing_mm[2]


def in_mm2(pixels: int, spacing_mm: Sequence[float] | None) -> float | None:
    """An area in pixels as mm2."""
    area = pixel_mm2(spacing_mm)
    return None if area is None else pixels * area


def summarise_lesions(
    slices: Sequence[SlicePrediction],
    measures: Sequence[SliceMeasures],
    spacing_mm: Sequence[float] | None,
) -> dict:
    """What the summary of a scan says about its lesions.

    Args:
        slices: all of the scan, in order.
        measures: of each.
        spacing_mm: z, y, x.

    Returns:
        ``lesions`` (regions: a lesion that spans five slices counts five times),
        ``slices_with_lesion``, ``lesion_slice_range`` ([first, last], from 0),
        ``most_lesion_slice``, ``lesion_volume_ml``, ``lesion_share_of_lung`` (of all slices
        together; lesion outside the lung mask is not counted) and ``lesion_outside_lung_ml``.
    """
    pixels = np.array([m.lesion_px for m in measures], dtype=np.int64)
    affected = np.flatnonzero(pixels)
    voxel_ml = None if spacing_mm is None else float(np.prod(spacing_mm)) / 1000
    total = int(pixels.sum())
    lung = sum(m.lung_px or 0 for m in measures)
    inside = sum(m.lesion_in_lung_px or 0 for m in measures)
    has_lung_mask = any(m.lung_px is not None for m in measures)
    return {
        "lesions": sum(len(s.lesions) for s in slices),
        "slices_with_lesion": len(affected),
        "lesion_slice_range": [int(affected[0]), int(affected[-1])] if len(affected) else None,
        "most_lesion_slice": int(pixels.argmax()) if len(affected) else None,
        "lesion_volume_ml": None if voxel_ml is None else total * voxel_ml,
        "lesion_share_of_lung": inside / lung if lung else None,
        "lesion_outside_lung_ml": (
            (total - inside) * voxel_ml if has_lung_mask and voxel_ml is not None else None
        ),
    }
