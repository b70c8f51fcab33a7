"""From the classes of slices to the class of a scan.

Shapes: S slices, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

DEFAULT_TOP_SLICES = 10


@dataclass(frozen=True)
class ScanClass:
    """The class of a scan.

    Attributes:
        probabilities: of each class; they sum to 1.
        slices: indices of the slices that decided, surest lesion first.
        rule: how, in words.
    """

    probabilities: tuple[float, ...]
    slices: tuple[int, ...]
    rule: str

    @property
    def index(self) -> int:
        """Of the class; on a tie the first."""
        return int(np.argmax(self.probabilities))


def classify_scan(
    logits: np.ndarray,
    lesion_scores: Sequence[float],
    *,
    top_slices: int = DEFAULT_TOP_SLICES,
    temperature: float = 1.0,
) -> ScanClass:
    """Class of a scan from the mean logits of the slices that show lesions most clearly.

    Most slices of a diseased lung show nothing, and their logits say so; the mean of all slices
    would drown the few that matter.

    Args:
        logits: (S, C).
        lesion_scores: (S,), of the best region of each slice; on a tie the lower slice counts.
        top_slices: how many slices count; 0, or more than there are, takes all.
        temperature: probabilities are those of the mean logits divided by it.

    Raises:
        ValueError: no slices, another number of scores, or ``top_slices`` below 0.
    """
    logits = np.asarray(logits, dtype=float)
    if len(logits) == 0 or len(logits) != len(lesion_scores) or top_slices < 0:
        raise ValueError(
            f"need a score for each of one or more slices and top_slices >= 0, not {len(logits)} "
            f"slices, {len(lesion_scores)} scores and {top_slices}"
        )
    count = min(top_slices or len(logits), len(logits))
    best = np.argsort(-np.asarray(lesion_scores, dtype=float), kind="stable")[:count]
    probabilities = softmax(logits[best].mean(axis=0) / temperature)
    of = "all" if count == len(logits) else f"the {count} of {len(logits)}"
    chosen = "" if count == len(logits) else " whose best region scores highest"
    rule = f"largest mean logit of {of} slices{chosen}"
    return ScanClass(tuple(probabilities.tolist()), tuple(best.tolist()), rule)
