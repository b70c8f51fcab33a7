"""Quality checks of a scan before prediction, on a few of its slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from scipy import ndimage

from .scan import QCFinding, Scan
from .windows import DEFAULT_WINDOW, Window

FEWEST_SLICES = 10
WIDEST_SLICE_SPACING_MM = 10.0
LARGEST_TILT_DEGREES = 1.0
UNEQUAL_PIXELS = 0.01  # of the spacing
BODY_HU = -400
CONSTANT_HU, CONSTANT_GREY = 20.0, 4.0  # standard deviations
MOST_SATURATED = 0.5  # of the body
CONSTANT, SATURATED = "constant", "saturated"  # codes of findings
SAMPLES, SAMPLE_SIDE = 5, 128


def sample_indices(count: int, samples: int = SAMPLES) -> list[int]:
    """Distinct indices spread evenly over ``count`` slices."""
    return sorted({int((i + 0.5) * count / samples) for i in range(samples)})


def sampled_range(read: Callable[[int], np.ndarray], count: int) -> tuple[float, float]:
    """Lowest and highest value in a few of ``count`` slices; NaN if one of them is NaN."""
    sampled = [read(index) for index in sample_indices(count)]
    # NumPy's extremes propagate NaN, Python's do not
    low, high = np.min([p.min() for p in sampled]), np.max([p.max() for p in sampled])
    return float(low), float(high)


def check_scan(scan: Scan) -> list[QCFinding]:
    """Run all checks; at most five slices are read."""
    return [*_check_slices(scan), *_check_orientation(scan), *_check_spacing(scan)] + list(
        _check_grey_values(scan)
    )


def _check_slices(scan: Scan) -> Iterator[QCFinding]:
    if len(scan) < FEWEST_SLICES:
        yield QCFinding(
            "few_slices",
            f"{len(scan)} slices: fewer than {FEWEST_SLICES}, unlikely to cover a whole chest",
        )


def _check_orientation(scan: Scan) -> Iterator[QCFinding]:
    if scan.spacing_mm is None:
        return
    if not scan.geometry.acquired_axially:
        yield QCFinding(
            "not_axial",
            "the input's slices are not axial: axial slices were reformatted from them",
        )
    angle = scan.geometry.degrees_from_axial
    if angle > LARGEST_TILT_DEGREES:
        yield QCFinding(
            "oblique",
            f"axes up to {angle:.1f} degrees off the patient's: assigned to the nearest axis, not "
            "resampled",
        )


def _check_spacing(scan: Scan) -> Iterator[QCFinding]:
    if scan.spacing_mm is None:
        yield QCFinding("spacing", "no spacing given: areas in mm2 and volumes in ml are unknown")
        return
    between, rows, columns = scan.spacing_mm
    if between is None:
        yield QCFinding(
            "spacing",
            "the thickness of the slice is unknown: no volumes in ml; masks are written with 1 mm",
        )
    if len(scan) > 1 and between > WIDEST_SLICE_SPACING_MM:
        yield QCFinding(
            "spacing",
            f"slices {between:.1f} mm apart (more than {WIDEST_SLICE_SPACING_MM:g}): lesions "
            "between them may be missed",
        )
    if abs(rows - columns) > UNEQUAL_PIXELS * max(rows, columns):
        yield QCFinding(
            "spacing", f"pixels are not square: {rows:.3f} mm by {columns:.3f} mm (rows, columns)"
        )


def _check_grey_values(scan: Scan) -> Iterator[QCFinding]:
    samples = sample_indices(len(scan))
    spread = max(float(_thin_out(scan.values(index)).std()) for index in samples)
    limit, unit = (CONSTANT_HU, "HU") if scan.is_hu else (CONSTANT_GREY, "grey values")
    if spread < limit:
        yield QCFinding(
            CONSTANT,
            f"nearly constant: standard deviation of at most {spread:.1f} {unit} in "
            f"{len(samples)} sampled slices",
        )
    else:
        yield from check_saturation(scan, scan.window or DEFAULT_WINDOW)


def check_saturation(scan: Scan, window: Window) -> Iterator[QCFinding]:
    """Check for a window that hides most of the body.

    Args:
        window: how the models' slices are made of HU; it does not matter for 8-bit input.
    """
    saturated, body_pixels = 0, 0
    for index in sample_indices(len(scan)):
        values = scan.values(index)
        grey = _thin_out(window.grey(values) if scan.is_hu else values)
        body = _body(_thin_out(values) if scan.is_hu else None, grey)
        saturated += int(np.isin(grey[body], (0, 255)).sum())
        body_pixels += int(body.sum())
    share = saturated / body_pixels if body_pixels else 0.0
    if share > MOST_SATURATED:
        by_window = scan.is_hu or scan.window is not None
        name = f"the window {window.label}" if by_window else "the window of the images"
        yield QCFinding(SATURATED, f"{name} shows {share:.0%} of the body as plain black or white")


def _thin_out(pixels: np.ndarray) -> np.ndarray:
    step = max(1, min(pixels.shape) // SAMPLE_SIDE)
    return pixels[::step, ::step]


def _body(hu: np.ndarray | None, grey: np.ndarray) -> np.ndarray:
    """Mask of the body including the lungs: the largest bright component with holes filled."""
    if hu is not None:
        bright = (hu > BODY_HU).astype(np.uint8)
    else:
        _, bright = cv2.threshold(np.ascontiguousarray(grey), 0, 1, cv2.THRESH_OTSU)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=4)
    if count < 2:
        return np.zeros(bright.shape, bool)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return ndimage.binary_fill_holes(labels == largest)
