"""How 8-bit slices are made from Hounsfield units (HU).

A network must see slices that were made like its training images. A :class:`Window` describes how;
it is stored in the json of a dataset, and in the config keys ``INPUT.WINDOW.*`` and thus in every
checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from numbers import Real
from typing import Any

import cv2
import numpy as np
from detectron2.config import CfgNode

from ct_lesion.config_values import CHOICES
from ct_lesion.errors import ConfigError, DatasetError

KINDS = CHOICES["INPUT.WINDOW.KIND"]
CLAHE_TILES = (8, 8)
HIGHEST_CLIP_LIMIT = 256  # of 256 grey values: higher limits clip nothing
SMALLEST_SIDE = 32
WINDOW_FILE = "window.json"
"""File in a folder of 8-bit slices that holds their window, from :meth:`Window.as_dict`."""
PADDING_HU = -1024
"""The floor of the CT scale; values up to it are padding around the field of view."""


@dataclass(frozen=True)
class Window:
    """How 8-bit slices are made from HU: a window, contrast equalisation, then shrinking.

    Attributes:
        level, width: centre and full width in HU of a "fixed" window; 0 for other kinds.
        kind: "fixed" maps ``level - width / 2`` to 0 and ``level + width / 2`` to 255; "range" maps
            each slice's minimum, without padding (-1024 HU and less), to 0 and its maximum to 255;
            "unknown" means that it is not recorded how the slices were made.
        clahe: clip limit of OpenCV's CLAHE on 8 x 8 tiles of the full-size slice; 0 for no CLAHE.
        side: larger slices are shrunk to this shorter side in pixels, with OpenCV's cubic
            interpolation and the same aspect ratio; 0 for no shrinking.

    Raises:
        ValueError: the values contradict each other or are out of range.
    """

    level: float = 0.0
    width: float = 0.0
    kind: str = "fixed"
    clahe: float = 0.0
    side: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}, expected one of {', '.join(KINDS)}")
        for name in ("level", "width", "clahe", "side"):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise ValueError(f"{name} is {value!r:.80}, expected a finite number")
        if self.kind == "fixed" and self.width <= 0:
            raise ValueError(f"width is {self.width:g}, expected more than 0 HU for kind 'fixed'")
        if self.kind != "fixed" and (self.level or self.width):
            raise ValueError(f"level and width must be 0 for kind {self.kind!r}")
        if self.kind == "unknown" and (self.clahe or self.side):
            raise ValueError("clahe and side must be 0 for kind 'unknown'")
        if not 0 <= self.clahe <= HIGHEST_CLIP_LIMIT:
            raise ValueError(f"clahe is {self.clahe:g}, expected 0 to {HIGHEST_CLIP_LIMIT}")
        if self.side and (self.side != int(self.side) or self.side < SMALLEST_SIDE):
            raise ValueError(f"side is {self.side:g}, expected 0 or {SMALLEST_SIDE} pixels or more")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Window:
        """Read the window from a config's ``INPUT.WINDOW``.

        Raises:
            ConfigError: a key has an invalid value.
        """
        try:
            return cls(**{name.lower(): value for name, value in cfg.INPUT.WINDOW.items()})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"INPUT.WINDOW: {error}.") from None

    @classmethod
    def from_json(cls, value: Any, path: object) -> Window:
        """Read a window from the json value of :meth:`as_dict`; None is an unknown window.

        Args:
            path: path of the json file, for the message.

        Raises:
            DatasetError: the value is not a window.
        """
        if value is None:
            return UNKNOWN
        try:
            return cls(**value)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}: its window is faulty ({error}). Correct it.") from None

    def into_config(self, cfg: CfgNode) -> None:
        """Set a config's ``INPUT.WINDOW``, in place."""
        for name, value in self.as_dict().items():
            cfg.INPUT.WINDOW[name.upper()] = value

    def as_dict(self) -> dict[str, str | float | int]:
        """The window for JSON."""
        return {f.name: type(f.default)(getattr(self, f.name)) for f in fields(self)}

    @property
    def is_known(self) -> bool:
        """Whether slices can be made with this window."""
        return self.kind != "unknown"

    @property
    def label(self) -> str:
        """Text for messages, e.g. ``lung (level -600, width 1500), CLAHE with clip limit 7``."""
        text = self.kind
        if self.kind == "range":
            text = "range (minimum to maximum of each slice)"
        elif self.kind == "fixed":
            text = f"level {self.level:g}, width {self.width:g}"
            plain = replace(self, clahe=0.0, side=0)
            names = [name for name, window in WINDOWS.items() if window == plain]
            text = f"{names[0]} ({text})" if names else text
        equalised = f", CLAHE with clip limit {self.clahe:g}" if self.clahe else ""
        return text + equalised + (f", shrunk to {self.side:g} px" if self.side else "")

    def grey(self, hu: np.ndarray) -> np.ndarray:
        """A slice in 8 bits at its full size.

        Args:
            hu: ``(H, W)``, integers or floats.

        Returns:
            A new array, ``(H, W)`` uint8.

        Raises:
            ValueError: the window is unknown, or ``hu`` contains NaN.
        """
        if self.kind == "unknown":
            raise ValueError("an unknown window cannot be applied")
        level, width = (self.level, self.width) if self.kind == "fixed" else _range_of(hu)
        grey = window_to_uint8(hu, level, width)
        if self.clahe:
            equalise = cv2.createCLAHE(self.clahe, CLAHE_TILES)
            grey = equalise.apply(np.ascontiguousarray(grey))
        return grey

    def shrink(self, grey: np.ndarray, interpolation: int = cv2.INTER_CUBIC) -> np.ndarray:
        """Shrink a full-size slice to ``side``; smaller slices are returned as they are.

        Args:
            grey: ``(H, W)`` uint8.
            interpolation: interpolation method of OpenCV; ``cv2.INTER_NEAREST`` for a label mask.
        """
        height, width = grey.shape
        if not self.side or min(height, width) <= self.side:
            return grey
        factor = self.side / min(height, width)
        size = (round(width * factor), round(height * factor))
        return cv2.resize(grey, size, interpolation=interpolation)


UNKNOWN = Window(kind="unknown")
WINDOWS: dict[str, Window] = {
    "lung": Window(-600.0, 1500.0),
    "mediastinum": Window(40.0, 400.0),
    "soft_tissue": Window(50.0, 350.0),
    "bone": Window(400.0, 1800.0),
}
"""Common display windows of chest CT, by name."""
DEFAULT_WINDOW = WINDOWS["lung"]


def _range_of(hu: np.ndarray) -> tuple[float, float]:
    """Level and width of the window from a slice's minimum, without padding, to its maximum."""
    inside = hu[hu > PADDING_HU]
    low = float(inside.min()) if inside.size else float(PADDING_HU)
    width = float(inside.max()) - low if inside.size else 0.0
    width = width or 1.0  # a constant slice becomes black, and so does one of padding only
    return low + width / 2, width


def window_to_uint8(hu: np.ndarray, level: float = -600.0, width: float = 1500.0) -> np.ndarray:
    """Map HU to 0..255 through a linear display window (DICOM's LINEAR_EXACT function).

    Values up to ``level - width / 2`` become 0, values from ``level + width / 2`` become 255, and
    values between are rounded to the nearest grey value.

    Args:
        hu: values in HU, any shape, any real dtype; infinities saturate.
        level: centre of the window in HU.
        width: full width of the window in HU, above 0.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: the width is not above 0, level or width is not finite, or ``hu`` contains NaN.
        TypeError: ``hu`` is not an array of real numbers.
    """
    if not (np.isfinite(level) and np.isfinite(width)):
        raise ValueError(f"window level and width must be finite, not {level} and {width}")
    if width <= 0:
        raise ValueError(f"window width must be above 0 HU, not {width}")
    values = np.asarray(hu)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"HU must be integers or floats, not {values.dtype}")
    # float32 is exact for integer HU, and float64 keeps its precision
    scaled = values.astype(np.promote_types(values.dtype, np.float32))
    if np.isnan(scaled).any():
        raise ValueError("HU values contain NaN; replace them before windowing")
    scaled -= level - width / 2
    scaled *= 255.0 / width
    np.clip(scaled, 0, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)
