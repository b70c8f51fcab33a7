"""From where on an audit warns: every number in one place, each with its reason.

:data:`THRESHOLDS` is printed in ``audit.json`` and on the page. The thresholds of the image
comparison are in :mod:`ct_lesion.audit.copies.search`.
"""

from __future__ import annotations

from typing import NamedTuple

from ct_lesion.data.datasets.coco_checks import AREA_TOLERANCE, BOX_TOLERANCE


class Threshold(NamedTuple):
    """A number and why it is that number."""

    value: float
    meaning: str


LUNG_TOLERANCE = 0.03
LESION_OUTSIDE = 0.9
FEWEST_LESION_PIXELS = 50
LUNG_NOT_DARKER = 0.7
FEWEST_CLASS_PATIENTS = 10
LARGEST_IMBALANCE = 5.0
SHARE_DIFFERENCE = 0.1
CRAMERS_V = 0.3
P_VALUE = 0.01
FEWEST_NEAR_COPIES = 2
SHORTCUT_AUC = 0.7
FEWEST_PROBE_PATIENTS = 10

THRESHOLDS = {
    "BOX_TOLERANCE": Threshold(
        BOX_TOLERANCE,
        "pixels that a box may be off its mask: polygons end half a pixel off, and tools count "
        "the last pixel or not",
    ),
    "AREA_TOLERANCE": Threshold(
        AREA_TOLERANCE,
        "share that a recorded area may be off its mask's, for the same reason",
    ),
    "LUNG_TOLERANCE": Threshold(
        LUNG_TOLERANCE,
        "of the longer side (15 px of 512, about a centimetre) that a lesion may lie beyond the "
        "lung field: the pleura, and consolidation beside it, is no lung by any threshold",
    ),
    "LESION_OUTSIDE": Threshold(
        LESION_OUTSIDE,
        "share of a slice's lesion area beyond the convex hull of the lung that is left, and the "
        "tolerance: consolidation of the dorsal halves of both lungs, which leaves no lung there, "
        "stays below; a lesion on the chest wall or another organ does not",
    ),
    "FEWEST_LESION_PIXELS": Threshold(
        FEWEST_LESION_PIXELS, "a lesion of fewer pixels is too small to call it misplaced"
    ),
    "LUNG_NOT_DARKER": Threshold(
        LUNG_NOT_DARKER,
        "chance that a pixel of the lung field is darker than one of the tissue around it: above "
        "0.86 in each of 328 real slices, below 0.6 with the mask a tenth of the image off",
    ),
    "FEWEST_NEAR_COPIES": Threshold(
        FEWEST_NEAR_COPIES,
        "near copies between two patients from which on they are an error: a single one may be "
        "alike by chance",
    ),
    "FEWEST_CLASS_PATIENTS": Threshold(
        FEWEST_CLASS_PATIENTS,
        "patients of a class in a group: with fewer, sensitivity is known to within 30 % at best",
    ),
    "LARGEST_IMBALANCE": Threshold(
        LARGEST_IMBALANCE, "patients of the most frequent class for one of the rarest"
    ),
    "SHARE_DIFFERENCE": Threshold(
        SHARE_DIFFERENCE,
        "between a class's share of the patients and of the slices, from which on it is noted: "
        "metrics by slice then are about other people than metrics by patient",
    ),
    "CRAMERS_V": Threshold(
        CRAMERS_V, "association of classes with groups or origins, 0 to 1; 0.3 is called medium"
    ),
    "P_VALUE": Threshold(
        P_VALUE, "and that by chance less often than this (Monte-Carlo test, patients as units)"
    ),
    "SHORTCUT_AUC": Threshold(
        SHORTCUT_AUC,
        "AUC of file properties alone, with an interval above 0.5: a class that can be told this "
        "well without looking at the lungs will be learnt that way",
    ),
    "FEWEST_PROBE_PATIENTS": Threshold(
        FEWEST_PROBE_PATIENTS, "patients of a class below which the shortcut probe measures nothing"
    ),
}
