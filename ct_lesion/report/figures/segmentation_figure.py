"""Slices with ground truth and predictions side by side."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ct_lesion.evaluation.segmentation_metrics import above_score, lesion_counts
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pages.palette import PREDICTION, TRUTH

Colour = str | tuple[float, ...]  # as in matplotlib


@dataclass(frozen=True)
class SlicePicture:
    """A slice to draw.

    Attributes:
        image: ``(H, W)`` uint8.
        truth: masks of the lesions, each ``(H, W)``.
        predictions: masks of the detections, each ``(H, W)``.
        scores: one per detection.
        title: text above the slice.
        summary: text above the predictions.
    """

    image: np.ndarray
    truth: list[np.ndarray]
    predictions: list[np.ndarray]
    scores: list[float]
    title: str
    summary: str


def choose_slices(truth: COCO, count: int) -> list[int]:
    """Image ids to show, from each patient in turn.

    Slices with lesions come first. Of these, the slice of median lesion area is the most typical;
    the others follow by their distance from it in the order of areas.
    """
    by_patient = defaultdict(list)
    for image in truth.loadImgs(truth.getImgIds()):
        area = sum(a["area"] for a in truth.imgToAnns[image["id"]])
        by_patient[image.get("patient", "")].append((area, image["id"]))
    queues = []
    for _, slices in sorted(by_patient.items()):
        with_lesions = sorted(item for item in slices if item[0] > 0)
        middle = len(with_lesions) // 2
        order = sorted(
            with_lesions, key=lambda item, m=middle, s=with_lesions: abs(s.index(item) - m)
        )
        queues.append([image_id for _, image_id in order + sorted(set(slices) - set(order))])
    chosen = [
        queue[turn]
        for turn in range(max(map(len, queues), default=0))
        for queue in queues
        if turn < len(queue)
    ]
    return chosen[:count]


def describe_slices(
    truth: COCO,
    detections: Sequence[dict],
    image_ids: Sequence[int],
    images: dict[int, np.ndarray],
    score_threshold: float,
) -> list[SlicePicture]:
    """Collect the slices, masks and texts that :func:`segmentation_figure` draws.

    Args:
        truth: ground truth.
        detections: COCO results.
        image_ids: the slices, in order.
        images: ``(H, W)`` uint8 by image id.
        score_threshold: detections above it are drawn.
    """
    detections = above_score(detections, score_threshold)
    counts = lesion_counts(truth, detections, score_threshold)
    pictures = []
    for image_id in image_ids:
        record, count = truth.imgs[image_id], counts[image_id]
        found = [d for d in detections if d["image_id"] == image_id]
        pictures.append(
            SlicePicture(
                image=images[image_id],
                truth=[truth.annToMask(a) for a in truth.imgToAnns[image_id]],
                predictions=[coco_mask.decode(d["segmentation"]) for d in found],
                scores=[d["score"] for d in found],
                title=f"patient {record.get('patient', '?')}, {Path(record['file_name']).stem}",
                summary=f"{count['found']} of {count['lesions']} found, {count['false']} false",
            )
        )
    return pictures


def segmentation_figure(pictures: Sequence[SlicePicture], score_threshold: float) -> Figure:
    """Two slices per row, each as slice, ground truth and prediction."""
    rows = -(-len(pictures) // 2)
    figure = Figure(figsize=(15, 2.75 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, 6, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for index, picture in enumerate(pictures):
        row, first = divmod(index, 2)
        _draw_slice(axes[row, 3 * first : 3 * first + 3], picture)
    figure.suptitle(
        f"Ground truth (yellow) and detections with score > {score_threshold:g} (blue). "
        f"A lesion counts as found at mask IoU > 0.5. {DISCLAIMER}",
        fontsize=11,
    )
    return figure


def _draw_slice(axes: Sequence[Axes], picture: SlicePicture) -> None:
    number = len(picture.truth)
    titles = (picture.title, f"{number} lesion{'' if number == 1 else 's'}", picture.summary)
    for axis, title in zip(axes, titles, strict=True):
        axis.imshow(picture.image, cmap="gray", vmin=0, vmax=255)
        axis.set_title(title, fontsize=9)
    for mask in picture.truth:
        outline(axes[1], mask, TRUTH)
    for mask, score in zip(picture.predictions, picture.scores, strict=True):
        outline(axes[2], mask, PREDICTION)
        _label_mask(axes[2], mask, score)


def _label_mask(axis: Axes, mask: np.ndarray, score: float) -> None:
    rows, columns = np.nonzero(mask)
    if rows.size:
        write_label(axis, columns.max() + 1, rows.min(), f"{score:.2f}", PREDICTION)


def outline(axis: Axes, mask: np.ndarray, colour: str, width: float = 1.0) -> None:
    """Draw the border of a mask (H, W), ``width`` points wide, on a slice."""
    # an empty mask, or one that fills the slice, has no outline
    if 0 < mask.sum() < mask.size:
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=width)


def draw_box(
    axis: Axes, box: np.ndarray, colour: Colour, width: float = 1.0, style: str = "-"
) -> None:
    """Draw a box x0, y0, x1, y1 in pixels; coordinate 0 is the corner of the first pixel."""
    # in imshow, 0 is the centre of the first pixel
    x0, y0, x1, y1 = (float(edge) - 0.5 for edge in box)
    axis.add_patch(
        Rectangle(
            (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, lw=width, linestyle=style
        )
    )


def write_label(axis: Axes, x: float, y: float, text: str, colour: Colour, size: float = 6) -> None:
    """Write to the upper right of a point in pixels, shaded to be legible on bright tissue."""
    shade = {"facecolor": "black", "alpha": 0.55, "pad": 0.4, "linewidth": 0}
    axis.text(x, y, text, color=colour, fontsize=size, va="bottom", clip_on=True, bbox=shade)
