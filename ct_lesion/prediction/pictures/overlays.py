"""Pictures of slices with the outlines and scores of their detections."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw

from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pages.palette import LineStyle, lesion_colour, style_of

from ..slices import Detection
from .text import font, wrapped

SMALLEST = 512
"""Pixels; smaller slices are enlarged by a whole factor, because text would hide the lesions."""
TEXT_SIZE = 12
MARGIN = 5
SAMPLE = 24  # length of the line samples in the legend
SHADOW = 0.5  # darkening beneath a line, 0..1
SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
FINER = 4
"""Upsampling factor of masks, so that outlines follow the pixel edges."""
TOLERANCE_PX = 0.3
"""Error of the polygon simplification; together with the finer grid's, below half a pixel."""


def draw_overlay(
    grey: np.ndarray,
    detections: Sequence[Detection],
    numbers: Sequence[int],
    caption: str,
    class_names: Sequence[str],
) -> np.ndarray:
    """Draw the outlines, lesion numbers and scores of a slice's detections, a caption and a legend.

    As on the page, the lesion's number determines the colour, and the class the dashes.

    Args:
        grey: (H, W) uint8.
        detections: the detections in this slice.
        numbers: the lesion of each detection; 0 for a detection hidden by others.
        caption: text below the slice; the disclaimer is added.
        class_names: the lesion classes of the model.

    Returns:
        (H', W', 3) uint8, RGB. Small slices are enlarged by a whole factor.
    """
    factor = max(1, round(SMALLEST / max(grey.shape)))
    size = (grey.shape[1] * factor, grey.shape[0] * factor)
    canvas = cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2RGB)
    picture = draw_outlines(canvas, detections, numbers, factor)
    shown = sorted({detection.class_index for detection in detections})
    legend = {class_names[index]: style_of(index) for index in shown}
    return np.asarray(_with_caption(picture, caption, legend))


def draw_outlines(
    canvas: np.ndarray, detections: Sequence[Detection], numbers: Sequence[int], scale: float
) -> Image.Image:
    """Draw the outlines, lesion numbers and scores of detections.

    Args:
        canvas: (H', W', 3) uint8, RGB; changed in place.
        detections, numbers: as in :func:`draw_overlay`.
        scale: canvas pixels per mask pixel.
    """
    styles = [
        LineStyle(lesion_colour(number), style_of(detection.class_index).dashes)
        for detection, number in zip(detections, numbers, strict=True)
    ]
    outlines = [[ring * scale for ring in find_contours(d.mask)] for d in detections]
    closed = [[np.concatenate([ring, ring[:1]]) for ring in rings] for rings in outlines]
    _darken_along(canvas, [line for lines in closed for line in lines])
    for lines, style in zip(closed, styles, strict=True):
        for line in lines:
            _draw_line(canvas, line, style)
    picture = Image.fromarray(canvas)
    taken: list[tuple[float, float, float, float]] = []
    for detection, number, rings, style in zip(detections, numbers, outlines, styles, strict=True):
        if rings:
            text = f"{number}: {detection.score:.2f}" if number else f"{detection.score:.2f}"
            _draw_score(picture, np.concatenate(rings), text, style, taken)
    return picture


def _darken_along(canvas: np.ndarray, lines: Sequence[np.ndarray]) -> None:
    """Darken the canvas under the lines, in place, so that they are visible on bright tissue."""
    shadow = np.zeros(canvas.shape[:2], np.uint8)
    for line in lines:
        cv2.polylines(shadow, [_fixed_point(line)], False, 255, 3, cv2.LINE_AA, SHIFT)
    canvas[:] = canvas * (1 - SHADOW * shadow[..., None] / 255)


def _draw_line(canvas: np.ndarray, line: np.ndarray, style: LineStyle) -> None:
    """Draw a thin solid or dashed line onto the canvas, in place."""
    colour = ImageColor.getrgb(style.colour)
    for piece in _dashed(line, style.dashes):
        cv2.polylines(canvas, [_fixed_point(piece)], False, colour, 1, cv2.LINE_AA, SHIFT)


def _fixed_point(line: np.ndarray) -> np.ndarray:
    # Whole coordinates are pixel edges here and pixel centres in OpenCV. The shift by half a pixel
    # is intended: a line along pixel centres is crisp, along edges it is two pixels wide and pale.
    return np.round(line * 2**SHIFT).astype(np.int32)


def _dashed(line: np.ndarray, dashes: Sequence[int]) -> list[np.ndarray]:
    """The dashes of a line, (N, 2) each; ``dashes`` are alternating lengths of dashes and gaps."""
    if not dashes:
        return [line]
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    pieces, start, turn = [], 0.0, 0
    while start < along[-1]:
        stop = min(start + dashes[turn % len(dashes)], along[-1])
        if turn % 2 == 0:
            places = np.concatenate([[start], along[(along > start) & (along < stop)], [stop]])
            pieces.append(np.stack([np.interp(places, along, axis) for axis in line.T], axis=1))
        start, turn = stop, turn + 1
    return pieces


def _draw_score(
    picture: Image.Image,
    outline: np.ndarray,
    text: str,
    style: LineStyle,
    taken: list[tuple[float, float, float, float]],
) -> None:
    """Write a score beside its outline, clear of other scores if possible; extends ``taken``."""
    draw = ImageDraw.Draw(picture)
    width, height = draw.textlength(text, font(TEXT_SIZE)) + 4, TEXT_SIZE + 3
    (x0, y0), (x1, y1) = outline.min(0), outline.max(0)
    middle = (x0 + x1 - width) / 2, (y0 + y1 - height) / 2
    places = [
        (middle[0], y0 - height - 2),
        (middle[0], y1 + 2),
        (x1 + 2, middle[1]),
        (x0 - width - 2, middle[1]),
    ]
    boxes = [_inside(x, y, width, height, picture.size) for x, y in places]
    free = [box for box in boxes if not any(_overlap(box, other) for other in taken)]
    box = (free or boxes)[0]
    taken.append(box)
    draw.rectangle(box, fill=(12, 15, 18))
    draw.text((box[0] + 2, box[1] + 1), text, style.colour, font(TEXT_SIZE))


def _inside(
    x: float, y: float, width: float, height: float, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    x = min(max(x, 0), size[0] - width)
    y = min(max(y, 0), size[1] - height)
    return x, y, x + width, y + height


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _with_caption(picture: Image.Image, caption: str, legend: dict[str, LineStyle]) -> Image.Image:
    lines = [*wrapped(caption, picture.width - 2 * MARGIN, font(TEXT_SIZE)), DISCLAIMER]
    step = TEXT_SIZE + 4
    whole = Image.new("RGB", (picture.width, picture.height + len(lines) * step + 2 * MARGIN))
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for i, line in enumerate(lines):
        draw.text((MARGIN, picture.height + MARGIN + i * step), line, "white", font(TEXT_SIZE))
    canvas = np.array(whole)
    x, y = float(whole.width), whole.height - MARGIN - step
    samples = []
    for name, style in legend.items():
        x -= draw.textlength(name, font(TEXT_SIZE)) + 2 * MARGIN
        samples.append(((x, y), name))
        x -= SAMPLE + MARGIN
        middle = y + TEXT_SIZE / 2 + 2
        sample = LineStyle("#ffffff", style.dashes)  # white, because colours mean lesions
        _draw_line(canvas, np.array([[x, middle], [x + SAMPLE, middle]]), sample)
    whole = Image.fromarray(canvas)
    for place, name in samples:
        ImageDraw.Draw(whole).text(place, name, "white", font(TEXT_SIZE))
    return whole


def find_contours(mask: np.ndarray) -> list[np.ndarray]:
    """Closed, simplified outlines of a mask and of its holes.

    Pixel ``i`` covers the coordinates ``i`` to ``i + 1``. The outlines follow the edges between
    inner and outer pixels; filled by the even-odd rule they give the mask. (OpenCV's outlines pass
    through the centres of the outermost pixels and lose half a pixel on each side.)

    Args:
        mask: (H, W) bool.

    Returns:
        (N, 2) float x, y corners for each outline; an empty list for an empty mask.
    """
    pixels = np.asarray(mask, np.uint8)
    x, y, width, height = cv2.boundingRect(pixels)
    if width == 0:
        return []
    part = np.pad(pixels[y : y + height, x : x + width], 1)
    rings, _ = cv2.findContours(_upsample(part), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    corners = [cv2.approxPolyDP(ring, TOLERANCE_PX * FINER, True)[:, 0] for ring in rings]
    return [ring / FINER + (x - 1, y - 1) for ring in corners if len(ring) > 2]


def _upsample(pixels: np.ndarray) -> np.ndarray:
    """The mask, 0 or 1, sampled at the positions ``k / FINER``, which include the pixel edges."""
    height, width = pixels.shape
    to_pixel_indices = np.array([[1 / FINER, 0, -0.5], [0, 1 / FINER, -0.5]])
    size = (width * FINER + 1, height * FINER + 1)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fine = cv2.warpAffine(pixels * np.uint8(254), to_pixel_indices, size, flags=flags)
    return (fine >= 127).astype(np.uint8)  # half of 254: positions on an edge are inside
