"""The thresholds of the audit's warnings, each with its reason.

:data:`THRESHOLDS` is printed in ``audit.json`` and on the page. The thresholds of the image
comparison are in :mod:`ct_lesion.audit.copies.near_copies`.
"""

from __future__ import annotations

from ct_lesion.data.datasets import coco_checks


class Threshold(float):
    """A number, and what it bounds and why."""

    def __new__(cls, value: float, meaning: str) -> Threshold:
        """Attach ``meaning`` to the number ``value``."""
        threshold = super().__new__(cls, value)
        threshold.meaning = meaning
        return threshold


BOX_TOLERANCE = Threshold(
    coco_checks.BOX_TOLERANCE,
    "pixels that a box may deviate from its mask: polygons end half a pixel off, and tools differ "
    "in whether they count the last pixel",
)
AREA_TOLERANCE = Threshold(
    coco_checks.AREA_TOLERANCE,
    "share that a recorded area may deviate from its mask's, for the same reason",
)
LUNG_TOLERANCE = Threshold(
    0.03,
    "share of the longer side (15 px of 512, about a centimetre) that a lesion may extend beyond "
    "the lung field: no threshold counts the pleura, and consolidation beside it, as lung",
)
LESION_OUTSIDE = Threshold(
    0.9,
    "share of a slice's lesion area beyond the convex hull of the remaining lung and the "
    "tolerance: consolidation of the dorsal halves of both lungs, which leaves no lung there, "
    "stays below; a lesion on the chest wall or another organ does not",
)
FEWEST_LESION_PIXELS = Threshold(50, "a lesion of fewer pixels is too small to call it misplaced")
LUNG_NOT_DARKER = Threshold(
    0.7,
    "probability that a pixel of the lung field is darker than one of the tissue around it: above "
    "0.86 in each of 328 real slices, below 0.6 with the mask shifted by a tenth of the image",
)
FEWEST_NEAR_COPIES = Threshold(
    2,
    "near copies between two patients from which on they are an error: a single pair may look "
    "alike by chance",
)
FEWEST_CLASS_PATIENTS = Threshold(
    10, "patients of a class in a group: with fewer, sensitivity is known to within 30 % at best"
)
LARGEST_IMBALANCE = Threshold(5, "ratio of patients between the most frequent and the rarest class")
SHARE_DIFFERENCE = Threshold(
    0.1,
    "difference between a class's share of the patients and of the slices: above it, metrics by "
    "slice describe other people than metrics by patient",
)
CRAMERS_V = Threshold(
    0.3, "association of classes with groups or origins, 0 to 1; 0.3 counts as medium"
)
P_VALUE = Threshold(
    0.01, "p-value of that association (Monte-Carlo test, patients as units), for a warning below"
)
SHORTCUT_AUC = Threshold(
    0.7,
    "AUC of file properties alone, with an interval above 0.5: a network will learn a class from "
    "its files if they predict it this well without the lungs",
)
FEWEST_PROBE_PATIENTS = Threshold(
    10, "patients of a class: with fewer, the shortcut probe is not run"
)

THRESHOLDS: dict[str, Threshold] = {
    name: value for name, value in globals().copy().items() if isinstance(value, Threshold)
}
"""All of the above by name."""
