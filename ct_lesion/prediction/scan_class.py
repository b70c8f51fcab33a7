"""The class of a scan from the logits of its slices.

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
        probabilities: the probability of each class; their sum is 1.
        slices: indices of the averaged slices, by decreasing lesion score.
        rule: how the class was chosen, as a text.
    """

    probabilities: tuple[float, ...]
    slices: tuple[int, ...]
    rule: str

    @property
    def index(self) -> int:
        """Index of the most probable class; of tied classes, the first."""
        return int(np.argmax(self.probabilities))


def classify_scan(
    logits: np.ndarray,
    lesion_scores: Sequence[float],
    *,
    top_slices: int = DEFAULT_TOP_SLICES,
    temperature: float = 1.0,
) -> ScanClass:
    """Classify a scan by the mean logits of the slices with the highest lesion scores.

    Most slices of a diseased lung are normal, and a mean over all slices would hide the few that
    show lesions.

    Args:
        logits: (S, C).
        lesion_scores: (S,), the score of each slice's best region. Of slices with equal scores,
            those nearer to the feet are taken first.
        top_slices: number of slices to average; 0, or more than S, takes all.
        temperature: divides the mean logits before the softmax.

    Raises:
        ValueError: there are no slices, the scores do not match the logits, or ``top_slices`` is
            negative.
    """
    logits = np.asarray(logits, dtype=float)
    if len(logits) == 0 or len(logits) != len(lesion_scores) or top_slices < 0:
        raise ValueError(
            "expected one or more slices, a score for each and top_slices >= 0, got "
            f"{len(logits)} slices, {len(lesion_scores)} scores and top_slices {top_slices}"
        )
    count = min(top_slices or len(logits), len(logits))
    best = np.argsort(-np.asarray(lesion_scores, dtype=float), kind="stable")[:count]
    probabilities = softmax(logits[best].mean(axis=0) / temperature)
    if count == len(logits):
        rule = "largest mean logit of all slices"
    else:
        rule = (
            f"largest mean logit of the {count} of {len(logits)} slices with the highest region "
            "scores"
        )
    return ScanClass(tuple(probabilities.tolist()), tuple(best.tolist()), rule)
