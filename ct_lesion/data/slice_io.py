"""Reading slices and turning Hounsfield units (HU) into the 8-bit images the network reads."""

from __future__ import annotations

import numpy as np

WINDOWS: dict[str, tuple[float, float]] = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "soft_tissue": (50.0, 350.0),
    "bone": (400.0, 1800.0),
}
"""Common display windows of chest CT: name -> (level, width), both in HU."""


def window_to_uint8(hu: np.ndarray, level: float = -600.0, width: float = 1500.0) -> np.ndarray:
    """Map HU to 0..255 through a linear display window (DICOM's LINEAR_EXACT function).

    ``level - width / 2`` and everything below becomes 0, ``level + width / 2`` and everything
    above becomes 255, values between are rounded to the nearest grey value.

    Args:
        hu: values in HU, any shape, any real dtype; infinities saturate.
        level: centre of the window in HU.
        width: full width of the window in HU, above 0.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        ValueError: the width is not above 0, level or width is not finite, or ``hu`` has a NaN.
        TypeError: ``hu`` does not hold real numbers.
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
