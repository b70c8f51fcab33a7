"""Finding of a scan's lesions, slice by slice in little memory."""

from collections.abc import Sequence

import numpy as np

from ct_lesion.scans.scan import Scan

from .detections import DetectionMeasures, measure_detections
from .linking import link_detections
from .lungs import SIDE_UNKNOWN
from .measures import ScanLesion, SliceStack, lung_ranges, measure_lesions


class LesionFinder:
    """Collects a scan's detections slice by slice; masks stay run-length encoded."""

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        spacing = scan.spacing_mm
        self._spacing_yx = None if spacing is None else tuple(spacing[1:])
        self._slices: list[list[DetectionMeasures]] = []
        self._masks: list[Sequence[dict]] = []
        self._lungs: list[list[int]] = []

    def add(
        self,
        masks: Sequence[dict],
        scores: Sequence[float],
        class_indices: Sequence[int],
        values: np.ndarray | None = None,
        lungs: np.ndarray | None = None,
    ) -> None:
        """Add the next slice.

        Args:
            masks: masks of its detections in COCO run-length encoding, by decreasing score.
            scores, class_indices: a score and class index for each mask.
            values: (H, W), the slice; only needed if there are detections.
            lungs: (H, W), see :data:`ct_lesion.lesions.detections.LUNGS`; bool if the sides are
                unknown; default: the lungs are unknown.
        """
        if lungs is not None and lungs.dtype == bool:
            lungs = lungs * np.uint8(SIDE_UNKNOWN)
        measured = measure_detections(
            masks,
            scores,
            class_indices,
            spacing_yx=self._spacing_yx,
            hu=values if self._scan.is_hu else None,
            lungs=lungs,
        )
        self._slices.append(measured)
        self._masks.append(masks)
        self._lungs.append([] if lungs is None else np.unique(lungs[lungs > 0]).tolist())

    def finish(self) -> tuple[list[ScanLesion], list[list[int]]]:
        """The lesions by number, and for each slice the lesion number of each detection.

        See :func:`ct_lesion.lesions.measures.measure_lesions`.
        """
        scan, step = self._scan, self._scan.spacing_mm and self._scan.spacing_mm[0]
        thickness = scan.thickness_mm or (None if step is None else [step] * len(self._slices))
        ranges = lung_ranges(self._lungs)
        stack = SliceStack(self._spacing_yx, thickness, scan.z_mm, ranges, scan.is_oriented)
        return measure_lesions(self._slices, link_detections(self._masks, scan.z_mm), stack)
