"""Segmentation: AP with intervals, by patient and by size, FROC, Dice, worst slices."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from ct_lesion.evaluation.lesion_overlap import (
    FROC_RATES,
    DiceScores,
    dice_scores,
    lesion_froc,
    sensitivity_at_rates,
)
from ct_lesion.evaluation.mask_ap import (
    AP_METRICS,
    MaskAP,
    ap_by_size,
    ap_difference,
    ap_intervals,
    patients_of,
)
from ct_lesion.evaluation.patient_bootstrap import Interval
from ct_lesion.pages.blocks import Block, Caution, Picture
from ct_lesion.pages.tables import Table

from ..figures.curves import PR_IOUS, froc_figure, precision_recall_figure
from ..figures.segmentation_figure import describe_slices, segmentation_figure
from ..options import ReportOptions
from ..runs.results import SegmentationResult
from ..runs.run_checks import RunError
from .worst_slices import read_grey, worst_dice

FROC_IOUS = (0.5, 0.1)
FROC_PLOTTED = ("thresholds", "sensitivity", "false_per_slice")  # attributes of FrocCurve
WORST = 6
FEW_PATIENTS = 20
Results = Mapping[str, SegmentationResult]  # by the name of the run


def check_same_truth(results: Results) -> None:
    """Refuse runs that were evaluated on different slices of one dataset.

    Raises:
        RunError: names both runs and a slice that only one of them was evaluated on.
    """
    for (name_a, a), (name_b, b) in combinations(results.items(), 2):
        different = _files(a) ^ _files(b)
        if a.dataset == b.dataset and different:
            raise RunError(
                f"{name_a} and {name_b} were not evaluated on the same slices of {a.dataset}: "
                f"{len(different)} are in only one of them, e.g. {min(different)}. Evaluate both "
                "on the same version of the dataset."
            )


def _files(result: SegmentationResult) -> set[str]:
    return {image["file_name"] for image in result.truth.imgs.values()}


def segmentation_blocks(results: Results, options: ReportOptions) -> list[Block]:
    """The tables, figures and warnings below Table 2."""
    dice = {
        name: dice_scores(r.truth, r.detections, options.score_threshold)
        for name, r in results.items()
    }
    comparison = _comparison_table(results, options)
    return [
        *_cautions(results),
        _interval_table(results, options),
        *([comparison] if comparison else []),
        _patient_table(results, dice),
        _size_table(results),
        *_froc_blocks(results),
        _precision_recall(results),
        _dice_table(dice, options),
        *_worst_blocks(results, dice, options),
    ]


def _cautions(results: Results) -> list[Caution]:
    texts = []
    for result in results.values():
        patients = len(set(patients_of(result.truth)))
        if not result.truth.dataset["annotations"]:
            texts.append(f"{result.dataset} holds no lesion, so AP is undefined.")
        if patients < FEW_PATIENTS:
            texts.append(
                f"{result.dataset} holds {patients} patient{'s' * (patients != 1)}. Bootstrap "
                "intervals over so few patients are too narrow, and the result says little about "
                "other patients."
            )
    return [Caution(text) for text in dict.fromkeys(texts)]


def _three(interval: Interval) -> tuple[float, float, float]:
    return interval.estimate, interval.low, interval.high


def _interval_table(results: Results, options: ReportOptions) -> Table:
    intervals = {metric: (f"{metric}: low", f"{metric}: high") for metric in AP_METRICS}
    columns = [name for metric, ends in intervals.items() for name in (metric, *ends)]
    rows = []
    for name, r in results.items():
        found = ap_intervals(r.truth, r.detections, resamples=options.resamples, seed=options.seed)
        values = [value for metric in AP_METRICS for value in _three(found[metric])]
        rows.append([name, len(r.truth.imgs), len(set(patients_of(r.truth))), *values])
    return Table(
        "ap_intervals",
        "COCO mask AP of all detections, with 95 % intervals",
        ["run", "slices", "patients", *columns],
        rows,
        dict.fromkeys(columns, ".3f"),
        intervals=intervals,
    )


def _comparison_table(results: Results, options: ReportOptions) -> Table | None:
    """Differences in AP of each pair of runs with the same ground truth."""
    intervals = {
        f"{metric}, A - B": (f"{metric}, A - B: low", f"{metric}, A - B: high")
        for metric in AP_METRICS
    }
    columns = [name for metric, ends in intervals.items() for name in (metric, *ends)]
    rows = []
    for (name_a, a), (name_b, b) in combinations(results.items(), 2):
        if a.truth.dataset["annotations"] != b.truth.dataset["annotations"]:
            continue
        found = ap_difference(
            a.truth, a.detections, b.detections, resamples=options.resamples, seed=options.seed
        )
        values = [value for metric in AP_METRICS for value in _three(found[metric])]
        rows.append([name_a, name_b, *values])
    if not rows:
        return None
    return Table(
        "ap_comparison",
        "Mask AP compared on the same lesions, with 95 % intervals",
        ["A", "B", *columns],
        rows,
        dict.fromkeys(columns, ".3f"),
        ["Each resample draws the same patients for both runs."],
        intervals,
    )


def _patient_table(results: Results, dice: Mapping[str, DiceScores]) -> Table:
    rows = [
        [name, patient, v["slices"], v["AP"], v["AP50"], v["AP75"], dice[name].by_patient[patient]]
        for name, r in results.items()
        for patient, v in r.metrics["patients"].items()
    ]
    columns = ["AP", "AP50", "AP75", "Dice"]
    return Table(
        "ap_patients",
        "COCO mask AP and Dice of each patient",
        ["run", "patient", "slices", *columns],
        rows,
        dict.fromkeys(columns, ".4f"),
    )


def _size_table(results: Results) -> Table:
    rows = [
        [name, g.name, g.low, g.high, g.lesions, g.ap, g.ap50]
        for name, r in results.items()
        for g in ap_by_size(r.truth, r.detections)
    ]
    return Table(
        "ap_sizes",
        "COCO mask AP by lesion size, in thirds of the lesions",
        ["run", "lesions of size", "from px", "to px", "lesions", "AP", "AP50"],
        rows,
        {"from px": ".0f", "to px": ".0f", "AP": ".4f", "AP50": ".4f"},
    )


def _froc_blocks(results: Results) -> list[Block]:
    curves = {
        name: {iou: lesion_froc(r.truth, r.detections, iou) for iou in FROC_IOUS}
        for name, r in results.items()
    }
    columns = [f"{rate:g}" for rate in FROC_RATES]
    rows = [
        [name, iou, curve.lesions, *sensitivity_at_rates(curve)]
        for name, by_iou in curves.items()
        for iou, curve in by_iou.items()
    ]
    table = Table(
        "froc",
        "Lesion sensitivity by number of false detections per slice",
        ["run", "found at IoU above", "lesions", *columns],
        rows,
        dict.fromkeys(columns, ".3f"),
        ["The highest sensitivity at or below each number. Slices without lesions are included."],
    )
    caption = (
        "Free-response ROC: lesions found against false detections per slice, over all scores. A "
        "detection is false if it overlaps no lesion with more than the IoU."
    )
    numbers = {
        name: {
            str(iou): {key: getattr(curve, key) for key in FROC_PLOTTED}
            for iou, curve in by_iou.items()
        }
        for name, by_iou in curves.items()
    }
    return [Picture("froc", froc_figure(curves), caption, numbers), table]


def _precision_recall(results: Results) -> Picture:
    evaluations = {name: MaskAP(r.truth, r.detections) for name, r in results.items()}
    numbers = {
        name: {str(iou): e.precision_at(iou) for iou in PR_IOUS} for name, e in evaluations.items()
    }
    caption = "COCO's interpolated precision of all detections against recall."
    figure = precision_recall_figure(evaluations)
    return Picture("precision_recall", figure, caption, numbers)


def _dice_table(dice: Mapping[str, DiceScores], options: ReportOptions) -> Table:
    rows = []
    for name, scores in dice.items():
        slices = np.array(list(scores.by_image.values()))
        patients = np.array(list(scores.by_patient.values()))
        rows.append(
            [
                name,
                _mean(slices),
                int((~np.isnan(slices)).sum()),
                int(np.isnan(slices).sum()),
                _mean(patients),
                int((~np.isnan(patients)).sum()),
            ]
        )
    return Table(
        "dice",
        f"Dice of all detections with score > {options.score_threshold:g}",
        [
            "run",
            "mean over slices",
            "slices",
            "slices without lesion or detection",
            "mean over patients",
            "patients",
        ],
        rows,
        {"mean over slices": ".3f", "mean over patients": ".3f"},
        [
            "Dice compares the union of detections with the union of lesions. A slice with "
            "neither has no Dice and is left out; a slice with only one of them has Dice 0. The "
            "Dice of a patient pools the pixels of all slices."
        ],
    )


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _worst_blocks(
    results: Results, dice: Mapping[str, DiceScores], options: ReportOptions
) -> list[Block]:
    blocks: list[Block] = []
    for number, (name, result) in enumerate(results.items(), start=1):
        worst = worst_dice(dice[name].by_image, WORST)
        images = {i: read_grey(result.image_file(i)) for i in worst}
        drawn = [i for i in worst if images[i] is not None]
        if not drawn:
            blocks.append(
                f"{name}: the images of {result.dataset} were moved or deleted; no slice is drawn."
            )
            continue
        pictures = describe_slices(
            result.truth, result.detections, drawn, images, options.score_threshold
        )
        blocks.append(
            Picture(
                f"worst_segmented_{number}",
                segmentation_figure(pictures, options.score_threshold),
                f"{name}: the slices with the lowest Dice.",
                {str(i): dice[name].by_image[i] for i in drawn},
            )
        )
    return blocks
