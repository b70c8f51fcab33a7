"""Quality checks of a scan before prediction, on a few of its slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from ct_lesion.errors import DatasetError

from .dicom.headers import DICOM_ENDINGS
from .names import MOST_NAMED, some_names
from .scan import AIR_HU, LOWEST_UNPADDED_HU, UNREADABLE_FILES, QCFinding, Scan
from .windows import DEFAULT_WINDOW, Window

FEWEST_SLICES = 10
WIDEST_SLICE_SPACING_MM = 10.0
PIXELS_MM = (0.1, 10.0)  # wide limits: small fields of view, shrunk slices
LARGEST_TILT_DEGREES = 1.0
UNEQUAL_PIXELS = 0.01  # of the spacing
BODY_HU = -400
CONSTANT_HU, CONSTANT_GREY = 20.0, 4.0  # standard deviations
MOST_SATURATED = 0.5  # of the body
CONSTANT, SATURATED = "constant", "saturated"  # codes of findings
SAMPLES, SAMPLE_SIDE = 5, 128
LUNG_OR_AIR_HU, SOFT_TISSUE_HU = (LOWEST_UNPADDED_HU, -700), (-200, 200)
LEAST_SHARE = 0.001  # of the sampled pixels
LIKELY_SHARE = 0.01


def sample_indices(count: int, samples: int = SAMPLES) -> list[int]:
    """Distinct indices spread evenly over ``count`` slices."""
    return sorted({int((i + 0.5) * count / samples) for i in range(samples)})


def sampled_range(read: Callable[[int], np.ndarray], count: int) -> tuple[float, float]:
    """Lowest and highest value in a few of ``count`` slices; NaN if one of them is NaN."""
    sampled = [read(index) for index in sample_indices(count)]
    # NumPy's extremes propagate NaN, Python's do not
    low, high = np.min([p.min() for p in sampled]), np.max([p.max() for p in sampled])
    return float(low), float(high)


def lost_slices(
    scans: Sequence[Sequence[Path]], files: Iterable[Path], folders: Iterable[Path]
) -> list[list[QCFinding]]:
    """Findings about unreadable files and folders beside the slices of each scan.

    Args:
        scans: the files of each scan, all in one folder.
        files: unreadable files; those with another extension than the slices are ignored.
        folders: unreadable folders.

    Returns:
        The findings of each scan.
    """
    beside: dict[Path, list[Path]] = defaultdict(list)
    inside: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        beside[path.parent].append(path)
    for path in folders:
        inside[path.parent].append(path)
    # unreadable files by folder and extensions, selected once for all scans of a folder
    lost: dict[tuple[Path, frozenset[str]], dict[Path, None]] = {}
    findings = []
    for slices in scans:
        place, endings = slices[0].parent, frozenset(map(_ending, slices))
        if (place, endings) not in lost:
            selected = (path for path in beside[place] if _ending(path) in endings)
            lost[place, endings] = dict.fromkeys(selected)
        findings.append([*_lost_beside(slices, lost[place, endings], inside[place])])
    return findings


def _lost_beside(
    slices: Sequence[Path], files: Mapping[Path, None], folders: Sequence[Path]
) -> Iterator[QCFinding]:
    of_scan = {path for path in slices if path in files}
    # list only the files to be named: many scans and many damaged files may share a folder
    first = [*islice((path for path in files if path not in of_scan), MOST_NAMED + 1)]
    for count, paths, noun in (
        (len(files) - len(of_scan), first, "file"),
        (len(folders), folders, "folder"),
    ):
        if count:
            yield QCFinding(
                UNREADABLE_FILES,
                f"{count} {noun}{'s' if count > 1 else ''} beside the slices cannot be "
                f"read, so slices may be missing: {some_names(paths)}",
            )


def _ending(path: Path) -> str:
    """A file's extension; empty for DICOM files, which may be named by a number or UID."""
    ending = path.suffix.lower()
    return "" if ending in DICOM_ENDINGS or ending[1:].isdecimal() else ending


def hu_findings(sampled: Iterable[np.ndarray]) -> list[QCFinding]:
    """Findings about values that look shifted or scaled: no lung and air, or no soft tissue.

    Pixels of -1024 HU and below -1100 HU count as padding.

    Args:
        sampled: HU of a few slices, of any shape.
    """
    air, tissue = _shares(sampled)
    return [
        QCFinding(
            "values",
            f"almost no pixels are between {low} and {high} HU, where every chest has {what}: the "
            "values may be shifted or scaled. Check the rescaling (slope, intercept, --hu)",
        )
        for share, (low, high), what in (
            (air, LUNG_OR_AIR_HU, "lung and air"),
            (tissue, SOFT_TISSUE_HU, "soft tissue"),
        )
        if share < LEAST_SHARE
    ]


def check_offset(path: Path, sampled: Sequence[np.ndarray], offset: float) -> None:
    """Refuse ``--hu`` for values that are HU without it.

    Args:
        sampled: stored values of a few slices.

    Raises:
        DatasetError: the stored values show lung and soft tissue at their usual HU, and after
            subtracting the offset there is hardly any soft tissue.
    """
    air, tissue = _shares(sampled)
    _, shifted_tissue = _shares([stored - np.float32(offset) for stored in sampled])
    if min(air, tissue) > LIKELY_SHARE and shifted_tissue < 0.1 * tissue:
        raise DatasetError(
            f"{path}: its values are HU already: lung and soft tissue have their usual HU without "
            f"the offset. Leave out --hu {offset:g}."
        )


def _shares(sampled: Iterable[np.ndarray]) -> np.ndarray:
    """Shares of pixels that are lung or air, without padding, and that are soft tissue."""
    counts, pixels = np.zeros(2), 0
    for hu in sampled:
        counts += (
            _count_within(hu, LUNG_OR_AIR_HU) - int((hu == AIR_HU).sum()),
            _count_within(hu, SOFT_TISSUE_HU),
        )
        pixels += hu.size
    return counts / pixels


def _count_within(hu: np.ndarray, limits: tuple[int, int]) -> int:
    return int(((hu >= limits[0]) & (hu <= limits[1])).sum())


def check_scan(scan: Scan) -> list[QCFinding]:
    """Run all checks; they read at most :data:`SAMPLES` slices."""
    return [*_check_slices(scan), *_check_orientation(scan), *_check_spacing(scan)] + list(
        _check_grey_values(scan)
    )


def _check_slices(scan: Scan) -> Iterator[QCFinding]:
    if len(scan) < FEWEST_SLICES:
        yield QCFinding(
            "few_slices",
            f"fewer than {FEWEST_SLICES} slices ({len(scan)}), which rarely cover a whole chest",
        )


def _check_orientation(scan: Scan) -> Iterator[QCFinding]:
    if scan.spacing_mm is None:
        return
    if not scan.geometry.acquired_axially:
        yield QCFinding(
            "not_axial",
            "the input's slices are not axial, so axial slices are reformatted from them",
        )
    angle = scan.geometry.degrees_from_axial
    if angle > LARGEST_TILT_DEGREES:
        yield QCFinding(
            "oblique",
            f"axes are up to {angle:.1f} degrees off the patient's: each counts as the nearest "
            "patient axis, without resampling",
        )


def _check_spacing(scan: Scan) -> Iterator[QCFinding]:
    if scan.spacing_mm is None:
        yield QCFinding("spacing", "no spacing given: areas in mm2 and volumes in ml are unknown")
        return
    between, rows, columns = scan.spacing_mm
    if between is None:
        yield QCFinding(
            "spacing",
            "the thickness of the slice is unknown, so there are no volumes in ml, and masks are "
            "written with 1 mm",
        )
    if len(scan) > 1 and between > WIDEST_SLICE_SPACING_MM:
        yield QCFinding(
            "spacing",
            f"slices {between:.1f} mm apart (more than {WIDEST_SLICE_SPACING_MM:g}): lesions "
            "between them may be missed",
        )
    if min(rows, columns) < PIXELS_MM[0] or max(rows, columns) > PIXELS_MM[1]:
        yield QCFinding(
            "spacing",
            f"pixels of {rows:.4g} mm by {columns:.4g} mm are implausible for a chest CT: lengths "
            "may be in another unit than mm, so areas and volumes may be wrong",
        )
    if abs(rows - columns) > UNEQUAL_PIXELS * max(rows, columns):
        yield QCFinding(
            "spacing", f"pixels are not square: {rows:.3f} mm by {columns:.3f} mm (rows, columns)"
        )


def _check_grey_values(scan: Scan) -> Iterator[QCFinding]:
    sampled = [_thin_out(scan.values(index)) for index in sample_indices(len(scan))]
    spread = max(float(values.std()) for values in sampled)
    limit, unit = (CONSTANT_HU, "HU") if scan.is_hu else (CONSTANT_GREY, "grey values")
    if spread < limit:
        yield QCFinding(
            CONSTANT,
            f"nearly constant: standard deviation of at most {spread:.1f} {unit} in "
            f"{len(sampled)} sampled slices",
        )
    else:
        if scan.is_hu and scan.kind != "dicom":  # DICOM is checked without its padding
            yield from hu_findings(sampled)
        yield from check_saturation(scan, scan.window or DEFAULT_WINDOW)


def check_saturation(scan: Scan, window: Window) -> Iterator[QCFinding]:
    """Check for a window that hides most of the body.

    Args:
        window: the window that makes the models' slices from HU; ignored for 8-bit input.
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
    """Every n-th pixel, so that the shorter side has about :data:`SAMPLE_SIDE` pixels."""
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
