"""Figure 2 of the paper: detections, mask logits, ground truth and class logits of slices.

Shapes: R regions of a slice, C classes, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pages.palette import PREDICTION, TRUTH

from .figure_4 import class_colours
from .segmentation_figure import draw_box, outline, write_label

LUNG_COLOUR = "#2a7a4b"
TRUE_COLOUR, LOGIT_COLOUR = "#00662b", "#b30000"
BOX_COLOUR = "white"
SCORE_MAP = "PuOr_r"  # diverging, and safe for colour-blind readers
MIN_SCORE = 0.05  # boxes with this score or less are dashed
LABELLED = 5  # more labels would hide the slice
NO_TRUTH = "no ground truth\nfor this slice"
NO_LESION, NO_LUNGS = "no lesion", "lungs unknown"
PREDICTED = "▶"
CAPTION = (
    "Column 1: the slice with masks (blue), boxes, classes and scores of its highest-ranking "
    f"regions; the first {LABELLED} are numbered. A dashed box scores too low to count as a "
    "detection; it is the highest-ranking region of its slice. Column 2: raw mask logits, before "
    "the sigmoid, each region resized to its box; where boxes overlap, the largest logit is shown. "
    "Above 0 (thin line) is lesion; outside all boxes the slice is shown faintly. Column 3: ground "
    "truth, lesions in yellow and lungs in green. Column 4: logits of the classifier (red), with "
    f"the true class in green and the predicted class marked. {DISCLAIMER}"
)


@dataclass(frozen=True)
class Regions:
    """The regions of a slice, by decreasing score.

    Attributes:
        boxes: (R, 4), x0, y0, x1, y1 in pixels.
        scores: (R,), 0..1.
        names: lesion class of each region.
        masks: (R, H, W) bool.
    """

    boxes: np.ndarray
    scores: np.ndarray
    names: Sequence[str]
    masks: np.ndarray


@dataclass(frozen=True)
class ScoredSlice:
    """A slice, drawn as one row of the figure.

    Attributes:
        title: name of the slice.
        image: (H, W) uint8.
        regions: the detections, or the highest-ranking region if there are none.
        score_map: (H, W) raw mask logits, NaN outside all boxes.
        class_names: names of the C classes.
        lesion_mask: (H, W) bool, all false in a slice without lesions; ``None`` if unknown.
        lung_mask: (H, W) bool, ``None`` if unknown.
        true_class: index of the true class, ``None`` if unknown.
        logits: (C,) logits of the classifier; ``None`` without a classifier.
    """

    title: str
    image: np.ndarray
    regions: Regions
    score_map: np.ndarray
    class_names: Sequence[str]
    lesion_mask: np.ndarray | None = None
    lung_mask: np.ndarray | None = None
    true_class: int | None = None
    logits: np.ndarray | None = None


def figure_2(slices: Sequence[ScoredSlice]) -> Figure:
    """One row per slice; see :data:`CAPTION` for the columns.

    All score maps share one scale, symmetric about 0, and all bar charts share one axis.

    Args:
        slices: at least one.

    Raises:
        ValueError: no slices.
    """
    if not slices:
        raise ValueError("Figure 2 needs at least one slice")
    figure = Figure(figsize=(10, 2.5 * len(slices) + 0.9), layout="constrained")
    axes = figure.subplots(len(slices), 4, squeeze=False, width_ratios=(1, 1, 1, 1.05))
    logits = f"Class logits ({PREDICTED} predicted)"
    titles = ("Detections", "Raw mask logits", "Ground truth", logits)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=11)
    limit = _limit([s.score_map for s in slices])
    reach = _limit([s.logits for s in slices if s.logits is not None])
    for row, piece in zip(axes, slices, strict=True):
        _detections(row[0], piece)
        drawn = _score_map(row[1], piece, limit)
        _ground_truth(row[2], piece)
        _classes(row[3], piece, reach)
    bar = figure.colorbar(
        drawn, ax=axes[:, 1], location="bottom", fraction=0.05, aspect=18, pad=0.01
    )
    bar.set_label("logit (above 0: lesion)", fontsize=9)
    figure.suptitle(f"Regions, mask logits and class logits. {DISCLAIMER}", fontsize=11)
    return figure


def _limit(arrays: Sequence[np.ndarray]) -> float:
    """The largest absolute value; 1 if all values are 0 or NaN, because a scale needs a range."""
    values = np.concatenate([np.abs(np.ravel(a)) for a in arrays] or [np.zeros(0)])
    return float(np.nanmax(values, initial=0.0, where=np.isfinite(values))) or 1.0


def _show(axis: Axes, image: np.ndarray, **kwargs: object) -> AxesImage:
    axis.set(xticks=[], yticks=[])
    return axis.imshow(image, **kwargs)


def _detections(axis: Axes, piece: ScoredSlice) -> None:
    _show(axis, piece.image, cmap="gray", vmin=0, vmax=255)
    axis.set_ylabel(piece.title, fontsize=9)
    found = piece.regions
    for mask in found.masks:
        outline(axis, mask, PREDICTION)
    for box, score in zip(found.boxes, found.scores, strict=True):
        draw_box(axis, box, BOX_COLOUR, 0.7, "-" if score > MIN_SCORE else "--")
    labelled = list(zip(found.boxes, found.scores, found.names, strict=True))[:LABELLED]
    for rank, (box, _, _) in enumerate(labelled, start=1):
        write_label(axis, box[0], box[1], str(rank), BOX_COLOUR, 7)
    lines = [
        f"{rank} {name} {format_score(s)}" for rank, (_, s, name) in enumerate(labelled, start=1)
    ]
    axis.set_xlabel(in_lines(lines, left_out=len(found.scores) - len(lines)), fontsize=8)


def in_lines(labels: Sequence[str], left_out: int = 0) -> str:
    """Labels below a slice, two per line, followed by the number that is left out."""
    labels = [*labels, *([f"and {left_out} more"] if left_out else [])]
    return "\n".join("   ".join(labels[i : i + 2]) for i in range(0, len(labels), 2))


def format_score(score: float) -> str:
    """A score with two decimals, or with one significant digit below 0.01."""
    return f"{score:.2f}" if score >= 0.01 else f"{score:.1g}"


def _score_map(axis: Axes, piece: ScoredSlice, limit: float) -> AxesImage:
    # the faint slice shows where in the body the regions are
    _show(axis, piece.image, cmap="gray", vmin=0, vmax=255, alpha=0.35)
    drawn = _show(axis, piece.score_map, cmap=SCORE_MAP, vmin=-limit, vmax=limit)
    outline(axis, np.nan_to_num(piece.score_map, nan=-limit) > 0, "black", 0.6)
    return drawn


def _ground_truth(axis: Axes, piece: ScoredSlice) -> None:
    if piece.lesion_mask is None:
        axis.axis("off")
        _write(axis, 0.5, NO_TRUTH)
        return
    picture = np.zeros((*piece.lesion_mask.shape, 3))
    if piece.lung_mask is not None:
        picture[np.asarray(piece.lung_mask, bool)] = to_rgb(LUNG_COLOUR)
    picture[np.asarray(piece.lesion_mask, bool)] = to_rgb(TRUTH)
    _show(axis, picture)
    notes = [NO_LESION] if not piece.lesion_mask.any() else []
    notes += [NO_LUNGS] if piece.lung_mask is None else []
    axis.set_xlabel("; ".join(notes), fontsize=9)


def _classes(axis: Axes, piece: ScoredSlice, reach: float) -> None:
    if piece.logits is None:
        axis.axis("off")
        _write(axis, 0.4, "no classifier in this run")
        if piece.true_class is not None:
            true_class = piece.class_names[piece.true_class]
            _write(axis, 0.6, f"{true_class} (true)", color=TRUE_COLOUR)
        return
    places = np.arange(len(piece.class_names))
    axis.barh(places, piece.logits, color=class_colours(piece.class_names), height=0.5)
    axis.set(xlim=(-1.1 * reach, 1.1 * reach), ylim=(len(places) - 0.4, -0.8), yticks=[])
    axis.axvline(0, color="0.4", linewidth=0.8)
    axis.tick_params(axis="x", labelsize=8)
    axis.spines[["left", "right", "top"]].set_visible(False)
    winner = int(np.argmax(piece.logits))
    for place, (name, logit) in enumerate(zip(piece.class_names, piece.logits, strict=True)):
        # name and value stand above their bar, at the left and right edge of the panel
        words = {
            "y": place - 0.3,
            "fontsize": 9,
            "va": "bottom",
            "weight": "bold" if place == winner else "normal",
            "transform": axis.get_yaxis_transform(),
        }
        true = place == piece.true_class
        label = f"{name} (true)" if true else name
        axis.text(x=0, s=label, color=TRUE_COLOUR if true else "black", **words)
        value = f"{PREDICTED} {logit:+.2f}" if place == winner else f"{logit:+.2f}"
        axis.text(x=1, s=value, color=LOGIT_COLOUR, ha="right", **words)
    if piece.true_class is None:
        axis.set_xlabel("true class unknown", fontsize=9)


def _write(axis: Axes, height: float, text: str, **kwargs: object) -> None:
    axis.text(
        0.5, height, text, ha="center", va="center", fontsize=9, transform=axis.transAxes, **kwargs
    )
