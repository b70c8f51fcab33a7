"""Figure 3 of the paper: scores and areas of the RoIs of one slice of each class.

Shapes: M slices, C classes, N RoIs per slice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from .figure_4 import class_colours

TOP = 16
BINS = 20
FEW_DECADES = 30  # an axis with a smaller ratio of its ends is labelled at 1, 2 and 5
LOWEST = 1e-6  # lower scores are drawn at this value
CAPTION = (
    "One slice of each class: histogram of the scores of its RoIs, and their scores against their "
    f"box areas; top {TOP} RoIs left, all RoIs right. A slice with fewer regions than RoIs repeats "
    "some regions. The histogram counts every RoI that the classifier reads, including copies "
    "(hatched); the scatter plot shows each region once. The axes of the scatter plot are "
    f"logarithmic; scores below {LOWEST:f} are drawn at that value."
)


@dataclass(frozen=True)
class RankedSlice:
    """The RoI batch of a slice.

    Attributes:
        class_name: true class.
        title: name of the slice.
        scores: (N,), 0..1, in decreasing order.
        boxes: (N, 4), x0, y0, x1, y1 in pixels.
        is_copy: (N,) bool, rows that repeat the row above.
    """

    class_name: str
    title: str
    scores: np.ndarray
    boxes: np.ndarray
    is_copy: np.ndarray


def choose_slices(
    labels: np.ndarray, logits: np.ndarray, class_names: Sequence[str]
) -> dict[str, int]:
    """The index of a typical slice of each class, by class name in class order.

    The margin of a slice is the logit of its true class minus the largest other logit. Chosen is
    the correctly classified slice of median margin (the lower median; the first among equals), or
    if no slice is correct, the slice of largest margin. A class without slices is left out.

    Args:
        labels: (M,) true class indices.
        logits: (M, C).
        class_names: names of the C classes, at least two.
    """
    labels, logits = np.asarray(labels, dtype=int), np.asarray(logits, dtype=float)
    others = logits.copy()
    rows = np.arange(len(labels))
    others[rows, labels] = -np.inf
    margins = logits[rows, labels] - others.max(axis=1, initial=-np.inf)
    correct = logits.argmax(axis=1) == labels
    chosen = {}
    for index, name in enumerate(class_names):
        members = np.flatnonzero(labels == index)
        right = members[correct[members]]
        if len(right):
            median = np.sort(margins[right])[(len(right) - 1) // 2]
            chosen[name] = int(right[margins[right] == median][0])
        elif len(members):
            chosen[name] = int(members[margins[members].argmax()])
    return chosen


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Areas in px^2, (...), of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def figure_3(slices: Sequence[RankedSlice], class_names: Sequence[str]) -> Figure:
    """One row per slice: histogram and scatter plot of the top RoIs, then of all RoIs.

    Args:
        slices: at least one, usually one per class.
        class_names: all classes, in class order, which determines their colours.

    Raises:
        ValueError: no slices, or a class that is not in ``class_names``.
    """
    if not slices:
        raise ValueError("Figure 3 needs at least one slice")
    unknown = {s.class_name for s in slices} - set(class_names)
    if unknown:
        raise ValueError(f"classes {sorted(unknown)} are not among {list(class_names)}")
    colours = dict(zip(class_names, class_colours(class_names), strict=True))
    figure = Figure(figsize=(10, 2.2 * len(slices) + 0.7), layout="constrained")
    axes = figure.subplots(len(slices), 4, squeeze=False)
    for row, piece in zip(axes, slices, strict=True):
        for pair, number in ((row[:2], min(TOP, len(piece.scores))), (row[2:], len(piece.scores))):
            _histogram(pair[0], piece, number, colours[piece.class_name])
            _scatter(pair[1], piece, number, colours[piece.class_name])
        row[0].set_ylabel(f"{piece.class_name}\n{piece.title}\nRoIs", fontsize=9)
    for column, axis in enumerate(axes[0]):
        axis.set_title(_title(column, [len(s.scores) for s in slices]), fontsize=10)
    _share_scales(axes)
    figure.suptitle("Scores and box areas of the RoIs of a slice", fontsize=11)
    return figure


def _title(column: int, numbers: Sequence[int]) -> str:
    what = "area, score" if column % 2 else "scores"
    if column < 2:
        return f"Top {min(TOP, max(numbers))}: {what}"
    return f"All {numbers[0]}: {what}" if len(set(numbers)) == 1 else f"All RoIs: {what}"


def _histogram(axis: Axes, piece: RankedSlice, number: int, colour: str) -> None:
    scores, copies = piece.scores[:number], np.asarray(piece.is_copy[:number], bool)
    axis.hist(
        [scores[~copies], scores[copies]],
        bins=np.linspace(0, 1, BINS + 1),
        stacked=True,
        color=[colour, "white"],
        edgecolor=colour,
        hatch=["", "/////"],
        linewidth=0.6,
    )
    axis.set(xlim=(0, 1), ylim=(0, 1.4 * max(axis.get_ylim()[1], 1)))  # leaves room for the text
    axis.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.text(
        0.97, 0.93, _summary(scores, copies), ha="right", va="top", fontsize=8,
        transform=axis.transAxes,
    )  # fmt: skip


def _summary(scores: np.ndarray, copies: np.ndarray) -> str:
    if not len(scores):
        return "no RoIs"
    text = f"highest {scores.max():.2g}\nmedian {np.median(scores):.2g}"
    return f"{text}\n{copies.sum()} copies" if copies.any() else text


def _scatter(axis: Axes, piece: RankedSlice, number: int, colour: str) -> None:
    shown = ~np.asarray(piece.is_copy[:number], bool)
    areas = box_areas(piece.boxes[:number])[shown]
    scores = np.maximum(piece.scores[:number][shown], LOWEST)
    axis.scatter(areas, scores, s=16, color=colour, alpha=0.6, linewidths=0)


def _thin_out_labels(axis: Axis) -> None:
    """Put few, plain labels on a logarithmic axis, even if it spans less than a decade."""
    low, high = axis.get_view_interval()
    steps = (1.0,) if high / low > FEW_DECADES else (1.0, 2.0, 5.0)
    within_a_decade = high / low < 10
    axis.set_major_locator(
        MaxNLocator(4) if within_a_decade else LogLocator(subs=steps, numticks=8)
    )
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _share_scales(axes: np.ndarray) -> None:
    """Give all scatter plots the same axes, so that the classes can be compared."""
    scatters = axes[:, 1::2].ravel()
    points = np.concatenate([axis.collections[0].get_offsets() for axis in scatters])
    points = points[points[:, 0] > 0]  # a logarithmic axis cannot show an area of 0
    areas, scores = points.T if len(points) else ([1, 1e4], [LOWEST, 1])
    for axis in scatters:
        axis.set(xscale="log", yscale="log", ylabel="score")
        axis.set(xlim=(min(areas) / 1.5, max(areas) * 1.5), ylim=(min(scores) / 1.5, 1.5))
        _thin_out_labels(axis.xaxis)
        _thin_out_labels(axis.yaxis)
        axis.grid(alpha=0.3)
    for axis, label in zip(axes[-1], ("score", "box area (px²)") * 2, strict=True):
        axis.set_xlabel(label, fontsize=9)
    for axis in axes.ravel():
        axis.tick_params(labelsize=8)
