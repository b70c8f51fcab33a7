"""Losses and metrics over a training, from the ``metrics.json`` that Detectron2 writes."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from ct_lesion.pages.palette import LINE_COLOURS

# what is drawn of an evaluation; a metric of several test sets has the dataset in front
METRICS = ("segm/AP50", "segm/AP", "classification/accuracy")


def series(curves: Sequence[Mapping], key: str) -> tuple[list[int], list[float]]:
    """Iterations and values of a key; where a run was resumed, the later value of an iteration."""
    values = {
        line["iteration"]: line[key] for line in curves if key in line and "iteration" in line
    }
    iterations = sorted(values)
    return iterations, [values[i] for i in iterations]


def loss_names(curves: Sequence[Mapping]) -> list[str]:
    """``total_loss`` first, then its parts where there are several."""
    parts = sorted({k for line in curves for k in line if k.startswith("loss_")})
    return ["total_loss", *(parts if len(parts) > 1 else [])]


def metric_names(curves: Sequence[Mapping]) -> list[str]:
    """The metrics among :data:`METRICS` that were measured, of whatever test set."""
    return sorted({k for line in curves for k in line if k.endswith(METRICS)})


def curves_figure(curves_by_run: Mapping[str, Sequence[Mapping]]) -> Figure:
    """A row a run: losses left (logarithmic), metrics in percent right.

    Args:
        curves_by_run: lines of ``metrics.json`` by the run's name.
    """
    figure = Figure(figsize=(9, 2.9 * len(curves_by_run)), layout="constrained")
    axes = figure.subplots(len(curves_by_run), 2, squeeze=False)
    for (losses, metrics), (name, curves) in zip(axes, curves_by_run.items(), strict=True):
        for colour, key in zip(LINE_COLOURS, loss_names(curves), strict=False):
            width = 1.8 if key == "total_loss" else 1.0
            losses.plot(*series(curves, key), color=colour, linewidth=width, label=key)
        losses.set(title=f"{name}: losses", xlabel="iteration", yscale="log")
        losses.legend(fontsize=7, ncols=2)
        for colour, key in zip(LINE_COLOURS, metric_names(curves), strict=False):
            metrics.plot(*series(curves, key), "o-", color=colour, markersize=4, label=key)
        metrics.set(title=f"{name}: evaluations", xlabel="iteration", ylabel="%", ylim=(0, 100))
        if metric_names(curves):
            metrics.legend(fontsize=7)
        for axis in (losses, metrics):
            axis.grid(alpha=0.3)
    return figure
