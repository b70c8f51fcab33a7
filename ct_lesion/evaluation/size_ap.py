"""COCO mask AP by the size of the lesions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO

from .mask_ap import EVERY_AREA, MaskAP

GROUPS = ("small", "medium", "large")


@dataclass(frozen=True)
class SizeGroup:
    """The lesions of a third of the sizes.

    Attributes:
        name: "small", "medium" or "large".
        low, high: areas in px, ends included.
        lesions: how many.
        ap, ap50: in [0, 1]; NaN without lesions.
    """

    name: str
    low: float
    high: float
    lesions: int
    ap: float
    ap50: float


def ap_by_size(truth: COCO, detections: Sequence[dict]) -> list[SizeGroup]:
    """AP of the small, the medium and the large lesions, a third each as far as ties allow.

    Returns:
        Three groups; none if there is no lesion. With few or equal lesions a group may be empty.
    """
    areas = np.array([a["area"] for a in truth.dataset["annotations"]], dtype=float)
    if not len(areas):
        return []
    first, second = np.quantile(areas, [1 / 3, 2 / 3], method="inverted_cdf")
    ranges = (
        (EVERY_AREA[0], first),
        (np.nextafter(first, np.inf), second),
        (np.nextafter(second, np.inf), EVERY_AREA[1]),
    )
    groups = []
    for name, (low, high) in zip(GROUPS, ranges, strict=True):
        own = areas[(areas >= low) & (areas <= high)]
        if not len(own):
            groups.append(SizeGroup(name, np.nan, np.nan, 0, np.nan, np.nan))
            continue
        scores = MaskAP(truth, detections, area_range=(low, high)).of()
        groups.append(SizeGroup(name, own.min(), own.max(), len(own), scores["AP"], scores["AP50"]))
    return groups
