"""What a user may choose about a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ct_lesion.evaluation.patient_bootstrap import RESAMPLES
from ct_lesion.evaluation.region_statistics import PER_CLASS_SLICES


@dataclass(frozen=True)
class ReportOptions:
    """What a user may choose about a report.

    Attributes:
        dataset: evaluation to report; by default that whose name ends in "_test".
        validation: evaluation to fit the temperature on; by default that ending in "_val".
        score_threshold: detections above it count for Dice and are drawn.
        per_class: slices of each class in the sample of Tables 4 and 5.
        resamples: of the bootstrap.
        seed: of bootstrap and samples.
        metadata: CSV file for subgroups, and ``subgroups`` its columns.
        draw_models: load the checkpoints for Figure 2 and the explained regions.
    """

    dataset: str | None = None
    validation: str | None = None
    score_threshold: float = 0.5
    per_class: int = PER_CLASS_SLICES
    resamples: int = RESAMPLES
    seed: int = 0
    metadata: Path | None = None
    subgroups: Sequence[str] = ()
    draw_models: bool = True
