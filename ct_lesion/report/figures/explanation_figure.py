"""Regions that drove the class of a slice, and the deletion test of their importance.

Shapes: N RoIs per slice, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ct_lesion.evaluation.region_importance import DeletionCurves
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pages.palette import BLUE, VERMILION

from .figure_2 import format_score, in_lines
from .segmentation_figure import draw_box, write_label

TOP = 6
# colour-blind readers can tell blue from orange; both ends stand out on a dark slice
IMPORTANCE_MAP = LinearSegmentedColormap.from_list("importance", ["#3b9dff", "#d9d9d9", "#ff8c00"])
CURVES = {
    "most": ("most important first", VERMILION, "o-"),
    "random": ("random rows", "0.4", "s--"),
    "least": ("least important first", BLUE, "^-"),
}
IMPORTANCE_CAPTION = (
    "Regions that drove the class of a slice. Left: the regions of largest absolute importance, "
    "labelled with their rank in the RoI batch; their scores are listed below the slice. Right: "
    "importance of all regions by rank. Orange regions raise the logit of the class, blue regions "
    f"lower it. The importance of a region includes its copies. {DISCLAIMER}"
)
DELETION_CAPTION = (
    "Deletion test: mean logit of the class after rows of the RoI batch are replaced by the "
    "baseline row of their rank. If the importance is valid, the logit falls faster when the most "
    "important rows go first (orange) than when random rows do (grey, dashed)."
)


@dataclass(frozen=True)
class ExplainedSlice:
    """A slice with the importance of each row of its RoI batch.

    Attributes:
        title: name of the slice.
        class_name: class whose logit is explained.
        logit: the logit of that class.
        image: (H, W) uint8.
        boxes: (N, 4), x0, y0, x1, y1 in pixels.
        scores: (N,), 0..1, in decreasing order.
        importance: (N,), in units of logit; NaN for rows that repeat the row above, see
            :func:`ct_lesion.evaluation.region_importance.merge_copies`.
    """

    title: str
    class_name: str
    logit: float
    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    importance: np.ndarray


def most_important(importance: np.ndarray, count: int) -> np.ndarray:
    """Rows by decreasing absolute importance; rows of importance 0 or NaN are left out."""
    size = np.abs(np.nan_to_num(importance))
    return np.argsort(-size, kind="stable")[: min(count, int((size > 0).sum()))]


def importance_figure(slices: Sequence[ExplainedSlice]) -> Figure:
    """One row per slice: its :data:`TOP` regions on the slice, and one bar per region.

    All rows share one colour scale.

    Args:
        slices: at least one, usually one per class.

    Raises:
        ValueError: no slices.
    """
    if not slices:
        raise ValueError("the figure needs at least one slice")
    values = np.nan_to_num(np.concatenate([s.importance for s in slices]))
    limit = float(np.abs(values).max()) or 1.0
    colours = ScalarMappable(Normalize(-limit, limit), IMPORTANCE_MAP)
    span = (min(values.min(), -0.1 * limit) - 0.15 * limit, max(values.max(), 0) + 0.15 * limit)
    figure = Figure(figsize=(10, 3.3 * len(slices) + 0.5), layout="constrained")
    axes = figure.subplots(len(slices), 2, squeeze=False, width_ratios=(1, 1.6))
    for (left, right), piece in zip(axes, slices, strict=True):
        chosen = most_important(piece.importance, TOP)
        _draw_regions(left, piece, chosen, colours)
        _draw_bars(right, piece, chosen, colours)
        right.set_ylim(span)
    axes[-1, 1].set_xlabel("rank in the RoI batch", fontsize=10)
    bar = figure.colorbar(colours, ax=axes[:, 1], location="bottom", fraction=0.04, aspect=40)
    bar.set_label("against the class   ◀   importance (logit)   ▶   for the class", fontsize=9)
    figure.suptitle(f"Regions that drove the class. {DISCLAIMER}", fontsize=11)
    return figure


def _draw_regions(
    axis: Axes, piece: ExplainedSlice, chosen: np.ndarray, colours: ScalarMappable
) -> None:
    axis.imshow(piece.image, cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    axis.set_title(piece.title, fontsize=9)
    # the most important region is drawn last, on top
    for turn, row in reversed(list(enumerate(chosen))):
        x0, y0, x1, y1 = piece.boxes[row]
        draw_box(axis, piece.boxes[row], colours.to_rgba(piece.importance[row]), 1.6)
        # boxes of one lesion nearly coincide, so labels take the corners in turn
        corner = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))[turn % 4]
        write_label(axis, *corner, str(row + 1), "white", 8)
    words = [f"rank {row + 1}: score {format_score(piece.scores[row])}" for row in chosen]
    axis.set_xlabel(in_lines(words) or "no region has an importance other than 0", fontsize=8)


def _draw_bars(
    axis: Axes, piece: ExplainedSlice, chosen: np.ndarray, colours: ScalarMappable
) -> None:
    rows = np.flatnonzero(np.isfinite(piece.importance))
    values = piece.importance[rows]
    drawn = np.isin(rows, chosen)
    # a black edge marks the regions drawn on the slice
    axis.bar(
        rows + 1,
        values,
        width=1.0,
        color=colours.to_rgba(values),
        edgecolor=np.where(drawn, "black", "0.7"),
        linewidth=np.where(drawn, 1.0, 0.2),
    )
    for row in chosen:
        value = piece.importance[row]
        axis.annotate(
            str(row + 1),
            (row + 1, value),
            (0, 2 if value > 0 else -2),
            textcoords="offset points",
            ha="center",
            va="bottom" if value > 0 else "top",
            fontsize=8,
        )
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xlim(0, len(piece.importance) + 1)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_title(f"{piece.class_name}: logit {piece.logit:+.2f}", fontsize=10)
    axis.set_ylabel("importance (logit)", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(axis="y", alpha=0.3)


def deletion_figure(curves: Mapping[str, DeletionCurves]) -> Figure:
    """One panel per entry: the mean target logit against the number of deleted rows.

    Args:
        curves: keyed by panel title, e.g. a class.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("the figure needs at least one set of deletion curves")
    figure = Figure(figsize=(max(3.2 * len(curves), 5.5), 3.6), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, (title, curve) in zip(axes, curves.items(), strict=True):
        places = np.arange(len(curve.steps))  # equidistant, because the steps double
        for name, (label, colour, style) in CURVES.items():
            axis.plot(places, getattr(curve, name), style, color=colour, label=label, markersize=4)
        axis.set_xticks(places, [str(step) for step in curve.steps], fontsize=8)
        axis.set_title(title, fontsize=10)
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("mean logit of the class", fontsize=9)
    figure.supxlabel("rows of the RoI batch replaced by their baseline", fontsize=9)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside upper center", ncols=3, fontsize=9)
    return figure
