"""Results that need the lungs: shares of lung, the severity score, detections outside the lungs."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ct_lesion.lesions.lung_shares import RegionCounts, severity_score
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.lesions.lungs import LUNGS, Lungs
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.volume_writing import write_volume

from .slices import SlicePrediction

LUNGS_FILE = "lungs.nii.gz"
OUTSIDE_NOTE = "dropped {dropped} outside the lungs (--keep-outside keeps such detections)"


class LungResults:
    """Counts the lesion in a scan's lungs slice by slice."""

    def __init__(
        self, scan: Scan, lungs: Lungs | None = None, source: LungSource | None = None
    ) -> None:
        """
        Args:
            scan: the predicted scan.
            lungs: its lungs; default: unknown.
            source: where the lungs come from; default: ``none``.
        """
        self._scan = scan
        self._lungs = lungs or Lungs()
        self._source = source or LungSource(auto=False)
        labels, lobes = self._lungs.labels, self._lungs.lobes
        self._counts = None if labels is None else RegionCounts(labels)
        self._lobes = None if lobes is None else RegionCounts(lobes)
        self._dropped = 0

    def slice(self, index: int) -> np.ndarray | None:
        """The lung labels of a slice, (H, W) uint8; ``None`` if they are unknown."""
        return None if self._lungs.labels is None else self._lungs.labels[index]

    def without_outside(self, prediction: SlicePrediction) -> SlicePrediction:
        """A slice's prediction without the detections outside the lungs' hull."""
        hull = self._lungs.hull
        if hull is None or self._source.keep_outside:
            return prediction
        kept = [
            detection
            for detection in prediction.detections
            if hull.contains_part_of(detection.mask, prediction.index)
        ]
        self._dropped += len(prediction.detections) - len(kept)
        return replace(prediction, detections=tuple(kept))

    def add(self, index: int, lesion: np.ndarray) -> None:
        """Count the lesion pixels of a slice, (H, W) bool."""
        for counts in (self._counts, self._lobes):
            if counts is not None:
                counts.add(index, lesion)

    def notes(self) -> list[str]:
        """The lungs' notes, and how many detections were dropped; one line each."""
        count = self._dropped
        if not count:
            return list(self._lungs.notes)
        dropped = "1 detection" if count == 1 else f"{count} detections"
        return [*self._lungs.notes, OUTSIDE_NOTE.format(dropped=dropped)]

    def save(self, folder: Path) -> None:
        """Write ``lungs.nii.gz`` into a scan's folder, if the lungs are known."""
        if self._lungs.labels is not None:
            image = self._scan.mask_image(self._lungs.labels)
            write_volume(folder / LUNGS_FILE, image, self._scan.nifti)

    def summary(self) -> dict:
        """``lungs`` of the scan's ``summary.json``.

        Its items, ``None`` where unknown:

        - ``source``: ``auto``, ``none``, ``mask`` or ``lobes``;
        - ``doubt``: why the lungs are unknown;
        - ``facts``: the measures that decide this, see
          :class:`~ct_lesion.lesions.lung_checks.LungFacts`;
        - ``volume_ml``, ``lesion_share`` by side: ``right``, ``left``, or ``unknown``;
        - ``lesion_share_of_thirds`` by side and third;
        - ``lobes``: ``lesion_share`` and ``score`` of each, in the order of their labels;
        - ``severity_score``: the sum of the lobes' scores;
        - ``detections_outside``: number of detections dropped outside the lungs.
        """
        lungs, known = self._lungs, self._counts is not None
        return {
            "lungs": {
                "source": self._source.name,
                "doubt": lungs.doubt,
                "facts": lungs.facts and asdict(lungs.facts),
                "volume_ml": self._by_side(self._volume) if known else None,
                "lesion_share": self._by_side(self._share) if known else None,
                "lesion_share_of_thirds": (
                    self._by_side(self._thirds) if known and lungs.oriented else None
                ),
                **self._severity(),
                "detections_outside": (
                    None if lungs.hull is None or self._source.keep_outside else self._dropped
                ),
            }
        }

    def _by_side(self, value: Callable[[int], Any]) -> dict:
        """``value(label)`` of each lung, by side."""
        return {LUNGS.get(label, "unknown"): value(label) for label in self._counts.found}

    @property
    def _thickness(self) -> list[float]:
        """Thickness of each slice in mm; 1 for all slices if unknown."""
        spacing = self._scan.spacing_mm
        step = spacing[0] if spacing and spacing[0] is not None else 1.0
        return self._scan.thickness_mm or [step] * len(self._scan)

    def _volume(self, label: int) -> float | None:
        spacing = self._scan.spacing_mm
        if spacing is None or spacing[0] is None:
            return None
        pixels = self._counts.pixels[:, label] @ np.array(self._thickness)
        return float(pixels) * spacing[1] * spacing[2] / 1000

    def _share(self, label: int) -> float:
        return self._counts.share(label, self._thickness)

    def _thirds(self, label: int) -> dict[str, float | None]:
        return self._counts.thirds(label, self._thickness)

    def _severity(self) -> dict:
        if self._lobes is None:
            return {"lobes": None, "severity_score": None}
        shares = [self._lobes.share(label, self._thickness) for label in self._lobes.found]
        scores = [severity_score(share) for share in shares]
        lobes = [
            {"lesion_share": share, "score": score}
            for share, score in zip(shares, scores, strict=True)
        ]
        return {"lobes": lobes, "severity_score": sum(scores)}
