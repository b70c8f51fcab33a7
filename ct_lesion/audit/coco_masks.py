"""Masks of COCO annotations, checked before anything decodes them.

pycocotools trusts what it is given: run lengths that do not fit the image make it read and write
beyond its arrays. Shapes: H x W pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycocotools import mask as coco_mask

FURTHEST = 1.0  # image sides that a polygon may lie outside and still be drawn


LARGEST_SIDE = 2**16
"""Pixels of an image whose masks are read; pycocotools counts pixels in 32 bits."""


def is_number(value: Any) -> bool:
    """Whether a json value can be a coordinate or an area: finite, and no absurd number."""
    return isinstance(value, int | float) and -1e15 < value < 1e15


class MaskFault(ValueError):
    """A segmentation that is no mask of its image; the message says why."""


def checked_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """COCO run-length encoding of a segmentation, safe to decode.

    Args:
        segmentation: RLE with counts as list or text, or polygons.
        height, width: of the image in pixels.

    Returns:
        ``size`` and compressed ``counts`` (bytes).

    Raises:
        MaskFault: the segmentation is damaged, or of another image.
    """
    if isinstance(segmentation, dict):
        return _from_rle(segmentation, height, width)
    if isinstance(segmentation, list):
        polygons = [_checked_polygon(p, height, width) for p in segmentation]
        if not polygons:
            raise MaskFault("no polygon")
        return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    raise MaskFault(f"a {type(segmentation).__name__} in place of RLE or polygons")


def _from_rle(rle: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    if rle.get("size") != [height, width]:
        raise MaskFault(f"a mask of size {rle.get('size')} in an image of {[height, width]}")
    counts = rle.get("counts")
    if isinstance(counts, list):
        runs = counts
    elif isinstance(counts, str | bytes):
        runs = unpack_counts(counts)
    else:
        raise MaskFault(f"counts that are a {type(counts).__name__}")
    if not all(isinstance(run, int) and run >= 0 for run in runs):
        raise MaskFault("counts that are not whole numbers from 0 up")
    if sum(runs) != height * width:
        raise MaskFault(f"runs of {sum(runs)} pixels in all, in an image of {height * width}")
    if isinstance(counts, list):
        return coco_mask.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    text = counts if isinstance(counts, bytes) else counts.encode("ascii")
    return {"size": [height, width], "counts": text}


def unpack_counts(counts: str | bytes) -> list[int]:
    """Run lengths of COCO's compressed text.

    Five bits a character from ``0`` on, the sixth says that more follow; from the third run on a
    number is the difference to the run before the last.

    Raises:
        MaskFault: other characters, or an end within a number.
    """
    text = counts if isinstance(counts, bytes) else counts.encode("utf-8")
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = character - 48
        if not 0 <= bits < 64:
            raise MaskFault(f"counts with a character {chr(character)!r}, which is none of RLE's")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value, shift = 0, 0
    if shift:
        raise MaskFault("counts that end within a number")
    return runs


def _checked_polygon(polygon: Any, height: int, width: int) -> Sequence[float]:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise MaskFault("a polygon that is no list of at least three points x, y")
    if not all(map(is_number, polygon)):
        raise MaskFault("a polygon with values that are no finite numbers")
    for values, side in ((polygon[::2], width), (polygon[1::2], height)):
        reach = FURTHEST * side
        if min(values) < -reach or max(values) > side + reach:
            raise MaskFault(
                f"a polygon from {min(values):g} to {max(values):g} in an image of {side} pixels"
            )
    return polygon
