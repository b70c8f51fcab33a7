"""Writing of a scan's pictures: overlays, projections and the report.

- ``overlays/<slice>.png``: slices with detections;
- ``view/coronal.jpg``, ``sagittal.jpg``, ``axial.jpg``: projections for the scan's view;
- ``view/thumbnail.jpg``: a small coronal projection for the table of scans;
- ``report.png``: projections, the largest lesions and the numbers.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from ct_lesion.files import write_new
from ct_lesion.lesions.projections import Projections
from ct_lesion.pictures import write_picture
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.windows import DEFAULT_WINDOW, Window

from ..slices import SlicePrediction
from .overlays import draw_overlay
from .projections import draw_projections
from .report import MOST_LESIONS, LesionSlice, draw_report

REPORT_FILE = "report.png"
THUMBNAIL_FILE = "view/thumbnail.jpg"
THUMBNAIL_SIDE = 160  # pixels; twice the size in the table, for sharp display
JPEG_QUALITY = 88


class ScanPictures:
    """Collects and writes a scan's pictures; projections stay in memory, slices do not."""

    def __init__(
        self, folder: Path, scan: Scan, window: Window | None, class_names: Sequence[str]
    ) -> None:
        """
        Args:
            folder: the scan's output folder.
            scan: the predicted scan.
            window: the segmenter's window; ``None`` for 8-bit input.
            class_names: the lesion classes.
        """
        self._folder = folder
        self._scan = scan
        self._window = window
        self._class_names = class_names
        self._projections = Projections(scan.shape)

    def add_slice(self, index: int, values: np.ndarray) -> None:
        """Add a slice, (H, W): HU, or 8-bit grey values."""
        self._projections.add_slice(index, values, self._scan.is_hu)

    def add_lesions(self, index: int, numbers: np.ndarray) -> None:
        """Add the lesions of a slice, (H, W) with the lesion number of each pixel."""
        self._projections.add_lesions(index, numbers)

    def finish(
        self, summary: dict, slices: Sequence[SlicePrediction], numbers: Sequence[Sequence[int]]
    ) -> list[str]:
        """Write the pictures.

        Args:
            summary: the content of ``summary.json``.
            slices: predictions of all slices.
            numbers: for each slice, the lesion number of each detection.

        Returns:
            The names of the projections and of the report.
        """
        self._save_overlays(slices, numbers)
        found, spacing = self._projections.finish(), self._scan.spacing_mm
        sides_known = self._scan.geometry.certain
        drawn = draw_projections(found, spacing, sides_known=sides_known)
        names = {f"view/{name}.jpg": picture for name, picture in drawn.items()}
        first = "axial" if len(self._scan) == 1 else "coronal"
        small = draw_projections(found, spacing, sides_known=False, side=THUMBNAIL_SIDE)
        names[THUMBNAIL_FILE] = small[first]
        for name, picture in names.items():
            write_picture(self._folder / name, picture, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        report = draw_report(summary, drawn, self._largest(summary, slices, numbers))
        write_new(self._folder / REPORT_FILE, _small_png(report))
        return [*names, REPORT_FILE]

    def _save_overlays(
        self, slices: Sequence[SlicePrediction], numbers: Sequence[Sequence[int]]
    ) -> None:
        """Write the slices with detections, outlined in the colours of their lesions."""
        last = len(self._scan) - 1
        affected = [prediction for prediction in slices if prediction.detections]
        for prediction in tqdm(affected, "overlays", unit="slice", disable=None, leave=False):
            index = prediction.index
            grey = self._scan.grey(index, self._window)
            caption = f"{self._scan.name}, slice {index} of 0 to {last}"
            picture = draw_overlay(
                grey, prediction.detections, numbers[index], caption, self._class_names
            )
            write_picture(self._folder / "overlays" / f"{index:04d}.png", picture)

    def _largest(
        self,
        summary: dict,
        slices: Sequence[SlicePrediction],
        numbers: Sequence[Sequence[int]],
    ) -> list[LesionSlice]:
        window = DEFAULT_WINDOW if self._scan.is_hu else None
        shown = []
        for lesion in summary["lesion_list"][:MOST_LESIONS]:
            index = lesion["largest_slice"]
            grey = self._scan.grey(index, window)
            shown.append(LesionSlice(lesion, slices[index], numbers[index], grey))
        return shown


def _small_png(pixels: np.ndarray) -> bytes:
    """Encode as PNG with Pillow, which takes about half of OpenCV's bytes."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG", optimize=True)
    return content.getvalue()
