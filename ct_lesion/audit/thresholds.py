"""The thresholds of the audit's findings, each with its reason.

:data:`THRESHOLDS` is written to ``audit.json`` and shown on the page. The thresholds of the copy
search are in :mod:`ct_lesion.audit.copies.near_copies`.
"""

from __future__ import annotations

from ct_lesion.data.datasets import coco_checks


class Threshold(float):
    """A number with an explanation: what it limits, and why it has this value."""

    def __new__(cls, value: float, meaning: str) -> Threshold:
        """Create a float that carries ``meaning``."""
        threshold = super().__new__(cls, value)
        threshold.meaning = meaning
        return threshold


BOX_TOLERANCE = Threshold(
    coco_checks.BOX_TOLERANCE,
    "pixels by which a box may deviate from its mask: polygon edges are half a pixel off, and "
    "tools disagree on whether the last pixel counts",
)
AREA_TOLERANCE = Threshold(
    coco_checks.AREA_TOLERANCE,
    "relative deviation allowed between the recorded area and the mask's area, for the same reason",
)
LUNG_TOLERANCE = Threshold(
    0.03,
    "share of the longer image side (15 px of 512, about 1 cm) by which a lesion may extend beyond "
    "the lung field: lung masks exclude the pleura and consolidation next to it",
)
LESION_OUTSIDE = Threshold(
    0.9,
    "share of a slice's lesion area outside the convex hull of the remaining lung plus "
    "LUNG_TOLERANCE: consolidation of the dorsal halves of both lungs stays below it, lesions on "
    "the chest wall or in other organs exceed it",
)
FEWEST_LESION_PIXELS = Threshold(50, "pixels of a lesion; smaller ones are never called misplaced")
LUNG_NOT_DARKER = Threshold(
    0.7,
    "probability that a lung pixel is darker than a pixel of the surrounding tissue: above 0.86 in "
    "each of 328 real slices, below 0.6 when the mask is shifted by a tenth of the image",
)
FEWEST_NEAR_COPIES = Threshold(
    2,
    "near copies between two patients for an error: a single one may be a coincidence and is a "
    "warning",
)
FEWEST_CLASS_PATIENTS = Threshold(
    10, "patients of a class in a group: with fewer, sensitivity is uncertain by about 30 %"
)
LARGEST_IMBALANCE = Threshold(5, "ratio of patients between the most frequent and the rarest class")
SHARE_DIFFERENCE = Threshold(
    0.1,
    "difference between a class's share of the patients and its share of the slices: above it, "
    "metrics per slice and metrics per patient weight the classes differently",
)
CRAMERS_V = Threshold(
    0.3, "association of class with group or origin, 0 to 1; 0.3 is conventionally medium"
)
P_VALUE = Threshold(
    0.01, "p-value below which this association is a warning (Monte-Carlo test over patients)"
)
SHORTCUT_AUC = Threshold(
    0.7,
    "AUC of a prediction from file properties alone, if its interval is above 0.5: a network may "
    "learn properties that predict the class this well",
)
FEWEST_PROBE_PATIENTS = Threshold(10, "patients of a class that the shortcut probe needs")

THRESHOLDS: dict[str, Threshold] = {
    name: value for name, value in globals().copy().items() if isinstance(value, Threshold)
}
"""All thresholds by name."""
