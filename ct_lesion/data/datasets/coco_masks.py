"""Masks of COCO annotations, checked before anything decodes them.

Shapes: H x W pixels of the image.
"""

from __future__ import annotations

from typing import Any

from pycocotools import mask as coco_mask

from ct_lesion.data.datasets.rle_checks import check_segmentation


class MaskFault(ValueError):
    """A segmentation that is no mask of its image; the message says why."""


def is_number(value: Any) -> bool:
    """Whether a json value can be a coordinate or an area: finite, and no absurd number."""
    return isinstance(value, int | float) and -1e15 < value < 1e15


def checked_rle(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """COCO run-length encoding of a segmentation, safe to decode.

    Args:
        segmentation: RLE with counts as list, text or bytes, or polygons.
        height, width: of the image in pixels.

    Returns:
        ``size`` and compressed ``counts`` (bytes).

    Raises:
        MaskFault: the segmentation is damaged, or of another image.
    """
    if isinstance(segmentation, dict) and isinstance(segmentation.get("counts"), bytes):
        # what a dataset that is registered holds once it was loaded
        text = segmentation["counts"].decode("ascii", errors="replace")
        segmentation = {**segmentation, "counts": text}
    try:
        check_segmentation(segmentation, height, width)
    except ValueError as error:
        raise MaskFault(str(error)) from None
    if not segmentation:
        raise MaskFault("no polygon")
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, height, width)
    return {"size": [height, width], "counts": segmentation["counts"].encode("ascii")}
