"""Regions that drove the class of slices, and a deletion test of their importance.

Shapes: M slices with N RoIs each.
"""

from pathlib import Path

import numpy as np
import torch

from ct_lesion.engine.builders import load_trained
from ct_lesion.evaluation.region_importance import (
    DeletionCurves,
    deletion_curve,
    mean_rows,
    merge_copies,
    occlusion,
)
from ct_lesion.evaluation.region_statistics import balanced_sample
from ct_lesion.pages.blocks import Block, Picture
from ct_lesion.pages.tables import Table

from ..figures.explanation_figure import (
    DELETION_CAPTION,
    IMPORTANCE_CAPTION,
    ExplainedSlice,
    deletion_figure,
    importance_figure,
)
from ..figures.figure_3 import choose_slices
from ..options import ReportOptions
from ..runs.results import ClassificationResult
from ..runs.run_checks import RunError
from ..runs.runs import Run
from .worst_slices import read_grey

CHECKED = 100  # slices per class in the deletion test


def explanation_blocks(
    name: str, number: int, run: Run, result: ClassificationResult, options: ReportOptions
) -> list[Block]:
    """One slice of each class with its important regions, and a deletion test.

    Args:
        name: name of the run.
        number: number of the run on the page, which is part of file names.
        run: the run, whose checkpoint is loaded.
        result: an evaluation with RoI batches.
        options: size and seed of the sample for the deletion test.

    Returns:
        Figures and a table, or a paragraph if no checkpoint has the evaluated weights.
    """
    try:
        weights = run.weights_files(result.record)[0]
    except RunError as error:
        return [f"{name}: the importance of regions is left out. {error}"]
    classifier = load_trained(run.cfg, weights, device="cpu").classifier  # S is small
    batch = result.roi_batches.roi_batch
    baseline = mean_rows(batch, result.labels)
    blocks: list[Block] = []
    slices = _explained_slices(classifier, result, baseline)
    if slices:
        numbers = {s.class_name: {"slice": s.title, "importance": s.importance} for s in slices}
        figure = importance_figure(slices)
        blocks.append(
            Picture(f"importance_{number}", figure, f"{name}. {IMPORTANCE_CAPTION}", numbers)
        )
    sample = balanced_sample(result.labels, min(CHECKED, options.per_class), options.seed)
    curves = {}
    for index, class_name in enumerate(result.class_names):
        rows = batch[sample[result.labels[sample] == index]]
        if len(rows):
            importance = occlusion(classifier, rows, index, baseline)
            curves[class_name] = deletion_curve(
                classifier, rows, importance, index, baseline, seed=options.seed
            )
    caption = f"{name}, at most {CHECKED} slices per class. {DELETION_CAPTION}"
    blocks.append(Picture(f"deletion_{number}", deletion_figure(curves), caption))
    return [*blocks, _deletion_table(number, name, curves)]


def _explained_slices(
    classifier: torch.nn.Module, result: ClassificationResult, baseline: np.ndarray
) -> list[ExplainedSlice]:
    """A typical slice of each class; classes whose image is missing are left out."""
    batches, slices = result.roi_batches, []
    chosen = choose_slices(result.labels, result.logits, result.class_names)
    for class_name, i in chosen.items():
        image = read_grey(result.files[i])
        if image is None:
            continue
        label = result.labels[i]
        importance = occlusion(classifier, batches.roi_batch[i : i + 1], int(label), baseline)
        slices.append(
            ExplainedSlice(
                f"{class_name}: patient {result.patients[i]}, {Path(result.files[i]).stem}",
                class_name,
                float(result.logits[i, label]),
                image,
                batches.boxes[i],
                batches.roi_batch[i, :, 0],
                merge_copies(importance, batches.is_copy[i : i + 1])[0],
            )
        )
    return slices


def _deletion_table(number: int, name: str, curves: dict[str, DeletionCurves]) -> Table:
    columns = ["most important", "random", "least important"]
    rows = [
        [class_name, int(step), *map(float, values)]
        for class_name, c in curves.items()
        for step, *values in zip(c.steps, c.most, c.random, c.least, strict=True)
    ]
    return Table(
        f"deletion_{number}",
        f"{name}: mean logit of the true class after deletion of rows",
        ["class", "rows deleted", *columns],
        rows,
        dict.fromkeys(columns, ".2f"),
        ["The importance is valid if deleting the most important rows lowers the logit most."],
    )
