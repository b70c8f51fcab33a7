"""The options of a report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ct_lesion.evaluation.patient_bootstrap import RESAMPLES
from ct_lesion.evaluation.region_statistics import PER_CLASS_SLICES


@dataclass(frozen=True)
class ReportOptions:
    """The options of a report.

    Attributes:
        dataset: dataset to report on; default: the dataset whose name ends in "_test".
        validation: dataset to fit the temperature on; default: the name ends in "_val".
        score_threshold: detections above it count for Dice and are drawn, 0..1.
        per_class: slices per class in the sample of Tables 4 and 5.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap, and of the samples of slices.
        metadata: CSV file with a subgroup of each file, scan or patient.
        subgroups: columns of ``metadata`` to report on.
        draw_models: load the checkpoints, which Figure 2 and the importance of regions need.
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
