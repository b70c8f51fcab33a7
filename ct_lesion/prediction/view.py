"""One scan's data for the page: slice images and what was found in each slice.

Below the scan's ``view`` folder: ``view.js``, and for each display window a folder of JPEG images,
one a slice, that the page loads when it needs them. A page opened from a disk may not read files,
but it may run scripts: so the data are a script that hands them over.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ct_lesion.files import write_together

from .contours import find_contours

VIEW_FILE = "view.js"
AS_GIVEN = "as given"
"""Name of the only set of images where the input is 8 bit and no window can be chosen."""
JPEG_QUALITY = 92


@dataclass(frozen=True)
class ViewLesion:
    """A lesion in a slice.

    Attributes:
        score: 0..1.
        class_name: one of the summary's ``lesion_class_names``.
        area_mm2: None where the spacing is not known.
        area_px: in pixels.
        mask: ``(H, W)`` bool, or COCO's run-length encoding of it.
    """

    score: float
    class_name: str
    area_mm2: float | None
    area_px: int
    mask: np.ndarray | dict


@dataclass(frozen=True)
class ViewSlice:
    """What was found in a slice.

    Attributes:
        index: place in the scan, from 0.
        name: file name or instance number.
        z_mm: position along the scan's axis, None where not known.
        lesions: in the order the page numbers them.
        area_mm2: of all lesions together, overlaps counted once; None where not known.
        area_px: the same in pixels.
        probabilities: of the summary's ``class_names``; None without a classifier.
    """

    index: int
    name: str
    z_mm: float | None
    lesions: list[ViewLesion]
    area_mm2: float | None
    area_px: int
    probabilities: list[float] | None


class ViewWriter:
    """Writes a scan's view slice by slice; of the images none is kept in memory, only outlines.

    ``view.js`` is written last: where it is, the view is complete.
    """

    def __init__(
        self, folder: Path, windows: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        """
        Args:
            folder: the view's, made if missing.
            windows: display windows by name, level and width in HU, the first shown first. None
                where the input has no HU; the images are then named AS_GIVEN.
        """
        self._folder = Path(folder)
        self._windows = _window_list(windows)
        self._slices: list[dict] = []
        self._size: tuple[int, int] | None = None
        for window in self._windows:
            (self._folder / window["folder"]).mkdir(parents=True, exist_ok=True)

    def add(self, view_slice: ViewSlice, images: Mapping[str, np.ndarray]) -> None:
        """Write the images of the next slice and keep its findings.

        Args:
            view_slice: the slices come in order, the first has index 0.
            images: ``(H, W)`` uint8 for each window, of one size in all slices.

        Raises:
            ValueError: slices out of order, or images other than asked for.
        """
        if view_slice.index != len(self._slices):
            raise ValueError(f"slice {len(self._slices)} is next, not {view_slice.index}")
        names = [window["name"] for window in self._windows]
        if set(images) != set(names):
            raise ValueError(f"need an image for each of {names}, not for {list(images)}")
        for window in self._windows:
            path = self._folder / window["folder"] / f"{view_slice.index + 1:04d}.jpg"
            self._write_image(path, images[window["name"]])
        self._slices.append(_slice_data(view_slice))

    def finish(self, summary: dict) -> None:
        """Write ``view.js``.

        Args:
            summary: the content of the scan's ``summary.json``.

        Raises:
            ValueError: no slice was added, or a number is not finite.
        """
        if self._size is None:
            raise ValueError("a view without a slice")
        data = {
            "size": list(self._size),
            "windows": self._windows,
            "slices": self._slices,
            "summary": summary,
        }
        # As a string that the page parses: no key or value, whatever it is called, is code.
        text = json.dumps(json.dumps(data, allow_nan=False, separators=(",", ":")))
        write_together({self._folder / VIEW_FILE: f"ctLesion.receive({text});\n"})

    def _write_image(self, path: Path, image: np.ndarray) -> None:
        if image.dtype != np.uint8 or image.ndim != 2:
            raise ValueError(f"{path.name}: need (H, W) uint8, not {image.shape} {image.dtype}")
        self._size = self._size or image.shape
        if image.shape != self._size:
            raise ValueError(f"{path.name}: is {image.shape}, the slices before {self._size}")
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        path.write_bytes(encoded.tobytes())


def _window_list(windows: Mapping[str, tuple[float, float]] | None) -> list[dict]:
    if windows is None:
        return [{"name": AS_GIVEN, "folder": _folder_name(AS_GIVEN), "level": None, "width": None}]
    listed = [
        {"name": name, "folder": _folder_name(name), "level": float(level), "width": float(width)}
        for name, (level, width) in windows.items()
    ]
    folders = {window["folder"].lower() for window in listed}
    if not listed or len(folders) < len(listed):
        raise ValueError(f"need windows with names that differ in letters, not {list(windows)}")
    return listed


def _folder_name(window: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", window).strip("_") or "window"


def _slice_data(view_slice: ViewSlice) -> dict:
    return {
        "name": view_slice.name,
        "z_mm": view_slice.z_mm,
        "area_mm2": view_slice.area_mm2,
        "area_px": view_slice.area_px,
        "probabilities": view_slice.probabilities,
        "lesions": [
            {
                "score": lesion.score,
                "class_name": lesion.class_name,
                "area_mm2": lesion.area_mm2,
                "area_px": lesion.area_px,
                # x0, y0, x1, y1, ...: the same as pairs, in a third of the characters
                "contours": [ring.round(2).ravel().tolist() for ring in find_contours(lesion.mask)],
            }
            for lesion in view_slice.lesions
        ],
    }
