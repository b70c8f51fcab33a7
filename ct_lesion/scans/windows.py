"""Display windows: from Hounsfield units (HU) to the network's 8-bit images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ct_lesion.errors import DatasetError


class Window(NamedTuple):
    """Centre and full width of a display window, in HU."""

    level: float
    width: float

    @property
    def label(self) -> str:
        """Text for messages, e.g. ``lung (level -600, width 1500)``."""
        numbers = f"level {self.level:g}, width {self.width:g}"
        names = [name for name, window in WINDOWS.items() if window == self]
        return f"{names[0]} ({numbers})" if names else numbers


WINDOWS: dict[str, Window] = {
    "lung": Window(-600.0, 1500.0),
    "mediastinum": Window(40.0, 400.0),
    "soft_tissue": Window(50.0, 350.0),
    "bone": Window(400.0, 1800.0),
}
"""Common display windows of chest CT, by name."""


def choose_window(
    name: str | None = None, level: float | None = None, width: float | None = None
) -> Window | None:
    """The window given by ``--window NAME``, or by ``--window-level`` and ``--window-width``.

    Returns:
        None if no option was given.

    Raises:
        DatasetError: the name is unknown, level or width is missing or not usable, or both forms
            are given.
    """
    if name is None and level is None and width is None:
        return None
    if name is not None and (level is not None or width is not None):
        raise DatasetError("--window: give a name, or --window-level and --window-width, not both.")
    if name is not None:
        if name not in WINDOWS:
            raise DatasetError(f"--window: unknown name {name!r}; choose {', '.join(WINDOWS)}.")
        return WINDOWS[name]
    if level is None or width is None:
        raise DatasetError("--window-level and --window-width: give both.")
    if not (np.isfinite(level) and np.isfinite(width) and width > 0):
        raise DatasetError(
            f"--window-level {level} --window-width {width}: both must be finite, and the width "
            "greater than 0."
        )
    return Window(float(level), float(width))


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
        ValueError: the width is not above 0, level or width is not finite, or ``hu`` has a NaN.
        TypeError: ``hu`` is not an array of real numbers.
    """
    if not (np.isfinite(level) and np.isfinite(width)):
        raise ValueError(f"window level and width must be finite, not {level} and {width}")
    if width <= 0:
        raise ValueError(f"window width must be above 0 HU, not {width}")
    values = np.asarray(hu)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"HU must be integers or floats, not {values.dtype}")
    # float32 is exact for every integer HU; a float64 volume keeps its precision.
    scaled = values.astype(np.promote_types(values.dtype, np.float32))
    if np.isnan(scaled).any():
        raise ValueError("HU values contain NaN; replace them before windowing")
    scaled -= level - width / 2
    scaled *= 255.0 / width
    np.clip(scaled, 0, 255, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint8)
