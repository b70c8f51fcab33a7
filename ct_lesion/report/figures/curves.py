"""Curves of runs: losses and metrics during training, FROC, precision against recall."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ct_lesion.evaluation.lesion_overlap import FrocCurve
from ct_lesion.evaluation.mask_ap import MaskAP
from ct_lesion.pages.palette import LINE_COLOURS

STYLES = {0.5: "-", 0.1: "--", 0.75: ":"}
PR_IOUS = (0.5, 0.75)
# ends of the metric names to draw; with several test sets, names start with the dataset
TRAINING_METRICS = ("segm/AP50", "segm/AP", "classification/accuracy")
LEAST_RATE, MOST_RATE = 0.05, 50.0


def froc_figure(curves: Mapping[str, Mapping[float, FrocCurve]]) -> Figure:
    """Sensitivity against false detections per slice, on a logarithmic axis.

    Args:
        curves: keyed by run name, then by the IoU above which a lesion counts as found.
    """
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axis = figure.subplots()
    for colour, (name, by_iou) in zip(LINE_COLOURS * len(curves), curves.items(), strict=False):
        for iou, curve in by_iou.items():
            axis.step(
                np.clip(curve.false_per_slice, LEAST_RATE, None),
                curve.sensitivity,
                STYLES.get(iou, "-."),
                where="post",
                color=colour,
                label=f"{name}, IoU > {iou:g}",
            )
    axis.set(
        xscale="log",
        xlim=(LEAST_RATE, MOST_RATE),
        ylim=(0, 1),
        xlabel="false detections per slice",
        ylabel="sensitivity (lesions found)",
    )
    axis.set_xticks([0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32])
    axis.set_xticklabels(["1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    return figure


def precision_recall_figure(evaluations: Mapping[str, MaskAP]) -> Figure:
    """COCO's interpolated precision against recall, one panel per IoU of :data:`PR_IOUS`.

    Args:
        evaluations: keyed by run name.
    """
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    for axis, iou in zip(figure.subplots(1, len(PR_IOUS)), PR_IOUS, strict=True):
        runs = zip(LINE_COLOURS * len(evaluations), evaluations.items(), strict=False)
        for colour, (name, evaluation) in runs:
            precision = evaluation.precision_at(iou)
            axis.plot(evaluation.recalls, precision, color=colour, label=name)
        axis.set(
            xlim=(0, 1),
            ylim=(0, 1.02),
            xlabel="recall",
            ylabel="precision",
            title=f"mask IoU {iou:g} or more",
        )
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    return figure


def series(curves: Sequence[Mapping], key: str) -> tuple[list[int], list[float]]:
    """The values of a key, with their iterations in ascending order.

    A resumed run logs some iterations twice; the later value is kept.
    """
    values = {
        line["iteration"]: line[key] for line in curves if key in line and "iteration" in line
    }
    iterations = sorted(values)
    return iterations, [values[i] for i in iterations]


def loss_names(curves: Sequence[Mapping]) -> list[str]:
    """``total_loss``, followed by its parts if there are several."""
    parts = sorted({k for line in curves for k in line if k.startswith("loss_")})
    return ["total_loss", *(parts if len(parts) > 1 else [])]


def metric_names(curves: Sequence[Mapping]) -> list[str]:
    """The metrics of :data:`TRAINING_METRICS` that were evaluated, on any test set."""
    return sorted({k for line in curves for k in line if k.endswith(TRAINING_METRICS)})


def curves_figure(curves_by_run: Mapping[str, Sequence[Mapping]]) -> Figure:
    """One row per run: losses (logarithmic) left, metrics in percent right.

    Args:
        curves_by_run: lines of ``metrics.json``, by the name of the run.
    """
    figure = Figure(figsize=(9, 2.9 * len(curves_by_run)), layout="constrained")
    axes = figure.subplots(len(curves_by_run), 2, squeeze=False)
    for (losses, metrics), (name, curves) in zip(axes, curves_by_run.items(), strict=True):
        for colour, key in zip(LINE_COLOURS, loss_names(curves), strict=False):
            width = 1.8 if key == "total_loss" else 1.0
            losses.plot(*series(curves, key), color=colour, linewidth=width, label=key)
        losses.set(title=f"{name}: losses", xlabel="iteration", yscale="log")
        losses.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        losses.yaxis.set_minor_formatter(NullFormatter())
        losses.legend(fontsize=7, ncols=2)
        for colour, key in zip(LINE_COLOURS, metric_names(curves), strict=False):
            metrics.plot(*series(curves, key), "o-", color=colour, markersize=4, label=key)
        metrics.set(title=f"{name}: evaluations", xlabel="iteration", ylabel="%", ylim=(0, 100))
        if metric_names(curves):
            metrics.legend(fontsize=7)
        for axis in (losses, metrics):
            axis.grid(alpha=0.3)
    return figure
