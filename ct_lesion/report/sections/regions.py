"""Regions behind the decision: Figures 3 and 4, Tables 4 and 5 (paper, section 3.2).

Shapes: M slices with N RoIs each, C classes.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ct_lesion.evaluation.region_statistics import (
    THRESHOLDS,
    balanced_sample,
    count_above,
    describe_counts,
    ks_tests,
)
from ct_lesion.pages.blocks import Block, Caution, Picture

from ..figures.figure_3 import CAPTION as FIGURE_3_CAPTION
from ..figures.figure_3 import RankedSlice, choose_slices, figure_3
from ..figures.figure_4 import CAPTION as FIGURE_4_CAPTION
from ..figures.figure_4 import figure_4
from ..options import ReportOptions
from ..paper.region_tables import region_count_table, region_test_table
from ..runs.results import ClassificationResult

MANY_COPIES = 0.1  # a share of copied rows that needs a warning


def region_blocks(
    results: Mapping[str, ClassificationResult], options: ReportOptions
) -> list[Block]:
    """Figures 3 and 4 of each run, and Tables 4 and 5 of all runs.

    Args:
        results: evaluations with RoI batches, by the name of the run.
    """
    blocks: list[Block] = []
    summaries, tests = {}, {}
    for number, (name, result) in enumerate(results.items(), start=1):
        sample = balanced_sample(result.labels, options.per_class, options.seed)
        labels = result.labels[sample]
        scores = result.roi_batches.roi_batch[sample, :, 0]
        is_copy = result.roi_batches.is_copy[sample].astype(bool)
        padded = is_copy.any(axis=1)
        counts = {t: count_above(scores, is_copy, t) for t in THRESHOLDS}
        summaries[name] = describe_counts(
            counts,
            labels,
            result.class_names,
            result.patients[sample],
            padded,
            resamples=options.resamples,
            seed=options.seed,
        )
        tests[name] = ks_tests(counts, labels, result.class_names)
        blocks += [
            _describe_sample(name, result, labels, options.seed),
            *_caution_about_copies(name, is_copy),
            _figure_3(name, number, result),
            _figure_4(name, number, result, counts, labels),
        ]
    return [*blocks, region_count_table(summaries), region_test_table(tests)]


def _describe_sample(name: str, result: ClassificationResult, labels: np.ndarray, seed: int) -> str:
    classes = len(np.unique(labels))
    return (
        f"{name}: Figure 4 and Tables 4 and 5 describe a sample of {len(labels):,} slices of "
        f"{result.dataset}, {len(labels) // max(classes, 1):,} of each of {classes} classes "
        f"(seed {seed})."
    )


def _caution_about_copies(name: str, is_copy: np.ndarray) -> list[Block]:
    """How many slices are padded; a warning if :data:`MANY_COPIES` of the rows are copies."""
    slices, rows = is_copy.shape
    padded = int(is_copy.any(axis=1).sum())
    if not padded:
        return []
    text = (
        f"{name}: the RoI batches of {padded:,} of {slices:,} slices are padded, because fewer "
        f"than {rows} of their regions passed MODEL.ROI_BATCH.SCORE_THRESH and NMS; "
        f"{100 * is_copy.mean():.0f} % of the rows are copies. The classifier reads the copies; "
        "Figure 4 and Tables 4 and 5 do not count them."
    )
    return [text if is_copy.mean() < MANY_COPIES else Caution(text)]


def _figure_3(name: str, number: int, result: ClassificationResult) -> Picture:
    chosen = choose_slices(result.labels, result.logits, result.class_names)
    batches = result.roi_batches
    slices = [
        RankedSlice(
            class_name,
            f"patient {result.patients[i]}, {Path(result.files[i]).stem}",
            batches.roi_batch[i, :, 0],
            batches.boxes[i],
            batches.is_copy[i],
        )
        for class_name, i in chosen.items()
    ]
    numbers = {
        s.class_name: {"slice": s.title, "scores": s.scores, "boxes": s.boxes} for s in slices
    }
    figure = figure_3(slices, result.class_names)
    return Picture(f"figure_3_{number}", figure, f"{name}. {FIGURE_3_CAPTION}", numbers)


def _figure_4(
    name: str,
    number: int,
    result: ClassificationResult,
    counts: Mapping[float, np.ndarray],
    labels: np.ndarray,
) -> Picture:
    columns = np.stack(list(counts.values()), axis=1)
    figure = figure_4(columns, labels, result.class_names, tuple(counts))
    numbers = {
        class_name: {str(t): counts[t][labels == index] for t in counts}
        for index, class_name in enumerate(result.class_names)
    }
    return Picture(f"figure_4_{number}", figure, f"{name}. {FIGURE_4_CAPTION}", numbers)
