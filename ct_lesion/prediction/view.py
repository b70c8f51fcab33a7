"""A scan's data for the page: the image and the detections of each slice.

A scan's ``view`` folder holds ``view.js`` and, for each display window, a folder with a JPEG image
of each slice, which the page loads on demand. A page opened from disk cannot read files but can
load scripts, so the data are wrapped in a script.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ct_lesion.files import write_new
from ct_lesion.pictures import write_picture
from ct_lesion.scans.scan import Scan
from ct_lesion.scans.windows import WINDOWS, Window

from .pictures.overlays import find_contours
from .scan_summary import in_mm2
from .slices import Detection

VIEW_FILE = "view.js"
AS_GIVEN = "as given"
"""Name of the only window of 8-bit input."""
JPEG_QUALITY = 92
# the page's display windows in addition to the segmenter's
EXTRA_WINDOWS = ("lung", "mediastinum")


@dataclass(frozen=True)
class ViewSlice:
    """A slice with its detections.

    Attributes:
        index: index of the slice, from 0.
        name: file name or instance number.
        z_mm: position along the slice axis; ``None`` if unknown.
        detections: sorted by decreasing score, as the page lists them.
        area_px: pixels in one or more detections.
        probabilities: one for each of the summary's ``class_names``; ``None`` without a classifier.
    """

    index: int
    name: str
    z_mm: float | None
    detections: Sequence[Detection]
    area_px: int
    probabilities: Sequence[float] | None


class ViewWriter:
    """Writes a scan's view slice by slice; outlines stay in memory, images do not.

    ``view.js`` is written last, so a view that has it is complete.
    """

    def __init__(
        self,
        folder: Path,
        windows: Mapping[str, Window] | None,
        lesion_class_names: Sequence[str],
        spacing_mm: Sequence[float] | None,
    ) -> None:
        """
        Args:
            folder: the view's folder; created if missing.
            windows: the display windows by name; the page opens with the first. ``None`` for 8-bit
                input, whose only window is :data:`AS_GIVEN`.
            lesion_class_names: the segmenter's classes.
            spacing_mm: z, y, x; ``None`` if unknown.

        Raises:
            ValueError: there are no windows, or two have the same folder name.
        """
        self._folder = Path(folder)
        self._windows = _window_list(windows)
        self._class_names = list(lesion_class_names)
        self._spacing_mm = spacing_mm
        self._slices: list[dict] = []
        self._size: tuple[int, int] | None = None
        for window in self._windows:
            (self._folder / window["folder"]).mkdir(parents=True, exist_ok=True)

    def add(self, view_slice: ViewSlice, images: Mapping[str, np.ndarray]) -> None:
        """Write the images of the next slice and keep its detections.

        Args:
            view_slice: the next slice; the first has index 0.
            images: (H, W) uint8 by window, of the same size in all slices.

        Raises:
            ValueError: the slice is out of order, or the images do not match the windows.
        """
        if view_slice.index != len(self._slices):
            raise ValueError(f"expected slice {len(self._slices)}, got slice {view_slice.index}")
        names = [window["name"] for window in self._windows]
        if set(images) != set(names):
            raise ValueError(f"expected images for the windows {names}, got {list(images)}")
        for window in self._windows:
            path = self._folder / window["folder"] / f"{view_slice.index + 1:04d}.jpg"
            self._write_image(path, images[window["name"]])
        self._slices.append(self._slice_data(view_slice))

    def finish(self, summary: dict, numbers: Sequence[Sequence[int]]) -> None:
        """Write ``view.js``.

        Args:
            summary: the content of the scan's ``summary.json``.
            numbers: for each slice, the lesion number of each detection; 0 for a detection hidden
                by others.

        Raises:
            ValueError: no slice was added, or a number is not finite.
        """
        if self._size is None:
            raise ValueError("the view has no slices")
        for slice_data, slice_numbers in zip(self._slices, numbers, strict=True):
            for detection, number in zip(slice_data["lesions"], slice_numbers, strict=True):
                detection["number"] = number
        data = {
            "size": list(self._size),
            "windows": self._windows,
            "slices": self._slices,
            "summary": summary,
        }
        # a string literal for the page to parse, so that no key or value can run as code
        text = json.dumps(json.dumps(data, allow_nan=False, separators=(",", ":")))
        write_new(self._folder / VIEW_FILE, f"ctLesion.receive({text});\n")

    def _write_image(self, path: Path, image: np.ndarray) -> None:
        if image.dtype != np.uint8 or image.ndim != 2:
            raise ValueError(f"{path.name}: expected (H, W) uint8, got {image.shape} {image.dtype}")
        self._size = self._size or image.shape
        if image.shape != self._size:
            raise ValueError(
                f"{path.name} has shape {image.shape}, earlier slices have {self._size}"
            )
        write_picture(path, image, cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)

    def _slice_data(self, view_slice: ViewSlice) -> dict:
        return {
            "name": view_slice.name,
            "z_mm": view_slice.z_mm,
            "area_mm2": in_mm2(view_slice.area_px, self._spacing_mm),
            "area_px": view_slice.area_px,
            "probabilities": view_slice.probabilities,
            # named "lesions" as in the views of earlier versions, which the page still shows
            "lesions": [
                {
                    "score": detection.score,
                    "class_name": self._class_names[detection.class_index],
                    "area_mm2": in_mm2(detection.area_px, self._spacing_mm),
                    "area_px": detection.area_px,
                    # x0, y0, x1, y1, ... in one list takes a third of the characters of pairs
                    "contours": [
                        ring.round(2).ravel().tolist() for ring in find_contours(detection.mask)
                    ],
                }
                for detection in view_slice.detections
            ],
        }


def _window_list(windows: Mapping[str, Window] | None) -> list[dict]:
    if windows is None:
        return [{"name": AS_GIVEN, "folder": _folder_name(AS_GIVEN), "level": None, "width": None}]
    listed = [
        {"name": name, "folder": _folder_name(name), **_level_and_width(window)}
        for name, window in windows.items()
    ]
    folders = {window["folder"].lower() for window in listed}
    if not listed or len(folders) < len(listed):
        raise ValueError(
            "expected one or more windows whose names differ in letters or digits, got "
            f"{list(windows)}"
        )
    return listed


def _level_and_width(window: Window) -> dict[str, float | None]:
    """Level and width of a linear window; ``None`` for others, e.g. with CLAHE."""
    plain = window.kind == "fixed" and not window.clahe
    return {name: float(getattr(window, name)) if plain else None for name in ("level", "width")}


def _folder_name(window: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", window).strip("_") or "window"


def view_windows(scan: Scan, window: Window | None) -> dict[str, Window] | None:
    """The display windows of the page, the segmenter's first; ``None`` for 8-bit input."""
    if not scan.is_hu:
        return None
    windows = {name: WINDOWS[name] for name in EXTRA_WINDOWS}
    first = {name: extra for name, extra in windows.items() if extra == window}
    return (first or {"model input": window}) | windows
