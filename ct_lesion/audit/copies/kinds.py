"""The kinds of copies that the search must find. Images are ``(H, W)`` uint8."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from ct_lesion.scans.windows import WINDOWS, Window, window_to_uint8

from .orientations import orient

Change = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CopyKind:
    """A kind of copy: one or two changes of an image, applied in order."""

    name: str
    changes: tuple[Change, ...]

    def copy(self, image: np.ndarray) -> np.ndarray:
        """Make a changed copy ``(H', W')`` uint8 of an image."""
        for change in self.changes:
            image = change(image)
        return image


def jpeg(quality: int) -> Change:
    """Encode as JPEG, quality 0..100."""

    def change(image: np.ndarray) -> np.ndarray:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)

    return change


def resize(factor: float, resample: int) -> Change:
    """Resize by a factor with one of Pillow's filters."""

    def change(image: np.ndarray) -> np.ndarray:
        height, width = (max(round(side * factor), 1) for side in image.shape)
        return np.asarray(Image.fromarray(image).resize((width, height), resample))

    return change


def rewindow(level: float, width: float) -> Change:
    """Apply another display window, in HU, to an image in the lung window."""

    def change(image: np.ndarray) -> np.ndarray:
        return window_to_uint8(_to_hu(image, WINDOWS["lung"]), level, width)

    return change


def turn(orientation: int) -> Change:
    """Flip or turn; ``orientation`` is an index into ``ORIENTATIONS``."""
    return lambda image: np.ascontiguousarray(orient(image, orientation))


def _to_hu(image: np.ndarray, window: Window) -> np.ndarray:
    return image.astype(np.float32) * (window.width / 255) + (window.level - window.width / 2)


_HALF, _NARROWER, _FLIP = resize(0.5, Image.Resampling.BOX), rewindow(-600, 1200), turn(1)
COPY_KINDS: tuple[CopyKind, ...] = tuple(
    CopyKind(name, changes)
    for name, *changes in (
        ("JPEG, quality 95", jpeg(95)),
        ("JPEG, quality 75", jpeg(75)),
        ("JPEG, quality 50", jpeg(50)),
        ("half the size, box filter", _HALF),
        ("half the size, Lanczos filter", resize(0.5, Image.Resampling.LANCZOS)),
        ("twice the size", resize(2, Image.Resampling.BICUBIC)),
        ("window -550/1400", rewindow(-550, 1400)),
        ("window -600/1200", _NARROWER),
        ("flipped left-right", _FLIP),
        ("flipped up-down", turn(2)),
        ("turned by 90 degrees", turn(5)),
        ("transposed", turn(4)),
        ("half the size, JPEG quality 50", _HALF, jpeg(50)),
        ("twice the size, JPEG quality 50", resize(2, Image.Resampling.BICUBIC), jpeg(50)),
        ("window -600/1200, JPEG quality 50", _NARROWER, jpeg(50)),
        ("window -600/1200, half the size", _NARROWER, _HALF),
        ("flipped left-right, JPEG quality 50", _FLIP, jpeg(50)),
        ("flipped left-right, half the size", _FLIP, _HALF),
        ("flipped left-right, window -600/1200", _FLIP, _NARROWER),
        ("turned by 90 degrees, JPEG quality 75", turn(5), jpeg(75)),
    )
)
"""Single changes, then pairs. Windows are level/width in HU; the originals are in -600/1500."""
