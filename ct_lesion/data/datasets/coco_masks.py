"""Checks masks in COCO's formats before pycocotools decodes them.

pycocotools' C code trusts its input: run lengths that add up to more than the mask's size overwrite
memory.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

LONGEST_RUN = 2**31 - 1


def checked_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Check a segmentation and convert it to COCO's compressed run-length encoding.

    Args:
        segmentation: see :func:`check_segmentation`.
        height, width: height and width of the image in pixels.

    Returns:
        ``size`` and ``counts`` (bytes), safe to decode.

    Raises:
        ValueError: the mask is invalid; the message gives the reason.
    """
    check_segmentation(segmentation, height, width)
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": segmentation["counts"].encode("ascii")}


def check_segmentation(segmentation: Any, height: int, width: int) -> None:
    """Check a run-length encoded mask or polygons.

    Args:
        segmentation: ``{"size": [H, W], "counts": ...}`` with counts as text or a list, or a list
            of polygons ``[x0, y0, x1, y1, ...]`` in pixels.
        height, width: height and width of the image in pixels.

    Raises:
        ValueError: the mask is invalid; the message gives the reason.
    """
    if isinstance(segmentation, dict):
        _check_rle(segmentation, height, width)
    elif isinstance(segmentation, list):
        if not segmentation:
            raise ValueError("a mask without polygons")
        for polygon in segmentation:
            _check_polygon(polygon, height, width)
    else:
        raise ValueError("a mask that is neither polygons nor run-length encoded")


def decode_counts(counts: str) -> np.ndarray:
    """Decode COCO's compressed run lengths: the number of pixels of 0, of 1, of 0, ...

    Raises:
        ValueError: there are invalid characters, or the last number is incomplete.
    """
    try:
        values = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError:
        raise ValueError("a mask whose counts are not ASCII") from None
    if values.size == 0:
        return values
    if values.min() < 0 or values.max() > 63 or values[-1] & 32:
        raise ValueError("a mask whose counts are damaged")
    # each character holds 5 bits of a number, and a flag whether the number continues
    starts = np.flatnonzero(np.concatenate([[True], (values[:-1] & 32) == 0]))
    lengths = np.diff(np.append(starts, values.size))
    if lengths.max() > 7:
        raise ValueError("a mask whose counts are damaged")
    place = np.arange(values.size) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((values & 31) << (5 * place), starts)
    negative = (values[starts + lengths - 1] & 16) > 0
    numbers -= np.where(negative, np.int64(1) << (5 * lengths), 0)
    # from the fourth on, a number is stored as the difference from the number two places before
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _check_rle(rle: dict, height: int, width: int) -> None:
    if rle.get("size") != [height, width]:
        raise ValueError(
            f"a mask of size {str(rle.get('size'))[:60]} in an image of [{height}, {width}]"
        )
    counts = rle.get("counts")
    if isinstance(counts, str):
        runs = decode_counts(counts)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        if any(abs(count) > LONGEST_RUN for count in counts):
            raise ValueError(f"a mask with a run of more than {LONGEST_RUN:,} pixels")
        runs = np.array(counts, np.int64)
    else:
        raise ValueError("a mask whose counts are neither text nor whole numbers")
    if runs.size and runs.min() < 0:
        raise ValueError("a mask with a run of negative length")
    if runs.sum() != height * width:
        raise ValueError(f"a mask whose runs add up to {runs.sum()}, not {height} x {width}")


def _check_polygon(polygon: Any, height: int, width: int) -> None:
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        raise ValueError("a polygon that is not a list of three or more pairs x, y")
    if not all(map(is_number, polygon)):
        raise ValueError("a polygon with a coordinate that is not a finite number")
    # pycocotools draws a polygon point by point, however far outside the image
    sides = (width, height) * (len(polygon) // 2)
    if any(not -side <= place <= 2 * side for place, side in zip(polygon, sides, strict=True)):
        raise ValueError("a polygon far outside the image")


def is_number(value: Any) -> bool:
    """Whether a json value can be a coordinate, area or score: finite and not absurdly large."""
    return isinstance(value, Real) and not isinstance(value, bool) and -1e15 < value < 1e15
