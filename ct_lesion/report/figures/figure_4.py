"""Figure 4 of the paper: numbers of RoIs per slice with a score above a threshold, by class.

Shapes: M slices, T thresholds, C classes.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ct_lesion.pages.palette import CLASS_COLOURS

CAPTION = (
    "Number of RoIs of a slice whose score is above a threshold, by class. Boxes span the "
    "quartiles, with a line at the median; whiskers reach to the last slice within 1.5 times the "
    "interquartile range; dots are slices beyond. The diamond, and the number below the class, are "
    "the mean. Copies that pad an RoI batch are not counted."
)


def class_colours(class_names: Sequence[str]) -> list[str]:
    """One colour per class: fixed for the paper's classes, from "tab10" for others."""
    others = matplotlib.colormaps["tab10"]
    return [CLASS_COLOURS.get(name, to_hex(others(i % 10))) for i, name in enumerate(class_names)]


def figure_4(
    counts: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float],
) -> Figure:
    """One panel per threshold, with one boxplot per class.

    Args:
        counts: (M, T), number of RoIs of a slice with a score above each threshold.
        labels: (M,) true class indices.
        class_names: names of the C classes; a class without slices is labelled "no slices".
        thresholds: the T thresholds.

    Raises:
        ValueError: the shape of ``counts`` is not (M, T).
    """
    counts, labels = np.asarray(counts), np.asarray(labels, dtype=int)
    if counts.shape != (len(labels), len(thresholds)):
        raise ValueError(
            f"counts {counts.shape} do not fit {len(labels)} slices and {len(thresholds)} "
            "thresholds"
        )
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axis, values, threshold in zip(
        figure.subplots(1, len(thresholds), squeeze=False)[0], counts.T, thresholds, strict=True
    ):
        _panel(axis, [values[labels == i] for i in range(len(class_names))], class_names)
        axis.set_title(f"Score > {threshold:g}", fontsize=11)
    figure.axes[0].set_ylabel("RoIs of a slice", fontsize=10)
    size = _sample_size(labels, class_names)
    figure.suptitle(f"Number of RoIs above a score. {size}", fontsize=11)
    return figure


def _panel(axis: Axes, samples: Sequence[np.ndarray], class_names: Sequence[str]) -> None:
    drawn = axis.boxplot(
        samples,
        showmeans=True,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "black", "linewidth": 1.5},
        meanprops={"marker": "D", "markerfacecolor": "white", "markeredgecolor": "black"},
        flierprops={"marker": "o", "markersize": 3, "alpha": 0.35, "markeredgewidth": 0},
    )
    colours = class_colours(class_names)
    for box, fliers, colour in zip(drawn["boxes"], drawn["fliers"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.75)
        fliers.set(markerfacecolor=colour)
    axis.set_xticks(range(1, len(samples) + 1), _tick_labels(samples, class_names), fontsize=9)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    axis.grid(axis="y", alpha=0.3)


def _tick_labels(samples: Sequence[np.ndarray], class_names: Sequence[str]) -> list[str]:
    """Each word of a class name on its own line, with the means aligned on the last line."""
    lines = max(len(name.split()) for name in class_names)
    labels = []
    for name, sample in zip(class_names, samples, strict=True):
        words = name.split()
        mean = f"mean {sample.mean():.2f}" if len(sample) else "no slices"
        labels.append("\n".join([*words, *[""] * (lines - len(words)), mean]))
    return labels


def _sample_size(labels: np.ndarray, class_names: Sequence[str]) -> str:
    sizes = np.bincount(labels, minlength=len(class_names))
    text = f"Sample size: {len(labels):,} slices"
    if len(labels) and (sizes == sizes[0]).all():
        return f"{text}, {sizes[0]:,} per class"
    each = ", ".join(f"{name} {size:,}" for name, size in zip(class_names, sizes, strict=True))
    return f"{text}\n({each})"
