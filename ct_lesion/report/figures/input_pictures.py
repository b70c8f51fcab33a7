"""Pictures of training data: the ground truth, and the network's inputs after augmentation.

Detectron2's Visualizer draws them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.data import Metadata
from detectron2.data import detection_utils as utils
from detectron2.structures import Instances
from detectron2.utils.visualizer import ColorMode, Visualizer
from matplotlib.figure import Figure
from PIL import ImageColor

from ct_lesion.pages.palette import style_of
from ct_lesion.pictures import read_8_bit

SMALLEST = 512
"""Smaller slices are enlarged by a whole factor, so that text does not hide their lesions."""


@dataclass(frozen=True)
class InputPicture:
    """A slice with its label.

    Attributes:
        pixels: ``(H, W, 3)`` uint8, RGB.
        source: file name of the slice.
        label: the class of the slice, or its number of lesions.
        size: height and width of the slice before it was enlarged.
    """

    pixels: np.ndarray
    source: str
    label: str
    size: tuple[int, int]


def draw_ground_truth(record: dict, metadata: Metadata) -> InputPicture:
    """Draw a record of a lesion or classification dataset as annotated, including crowds.

    Args:
        record: a record of Detectron2's dataset catalog.
        metadata: metadata of the dataset, with ``thing_classes`` or ``image_classes``.

    Raises:
        DatasetError: the slice cannot be read.
    """
    image = utils.convert_PIL_to_numpy(read_8_bit(record["file_name"]), "RGB")
    canvas = _canvas(image, metadata)
    canvas.draw_dataset_dict({"annotations": record.get("annotations")})
    label = _label(record, len(record.get("annotations", ())), metadata)
    return _finish(canvas, image, record, label)


def draw_input(mapped: dict, metadata: Metadata, image_format: str) -> InputPicture:
    """Draw an output of a training mapper: the slice as the network gets it, with its targets.

    Args:
        mapped: ``image`` (C, H, W), and ``instances`` or ``label``.
        metadata: as for :func:`draw_ground_truth`.
        image_format: ``INPUT.FORMAT``.
    """
    image = utils.convert_image_to_rgb(mapped["image"].permute(1, 2, 0), image_format)
    canvas = _canvas(image, metadata)
    targets: Instances | None = mapped.get("instances")
    if targets is not None and len(targets):
        classes = targets.gt_classes.tolist()
        canvas.overlay_instances(
            labels=[metadata.thing_classes[index] for index in classes],
            assigned_colors=[style_of(index).colour for index in classes],
            boxes=targets.gt_boxes,
            masks=targets.gt_masks if targets.has("gt_masks") else None,
        )
    label = _label(mapped, 0 if targets is None else len(targets), metadata)
    return _finish(canvas, image, mapped, label)


def _canvas(image: np.ndarray, metadata: Metadata) -> Visualizer:
    names = metadata.get("thing_classes", [])
    colours = [ImageColor.getrgb(style_of(index).colour) for index in range(len(names))]
    return Visualizer(
        image,
        # without thing_colors, Detectron2 draws random colours, which may be as grey as the slice
        Metadata(thing_classes=names, thing_colors=colours),
        scale=max(1, round(SMALLEST / max(image.shape[:2]))),
        instance_mode=ColorMode.SEGMENTATION,
    )


def _label(item: dict, lesions: int, metadata: Metadata) -> str:
    if hasattr(metadata, "image_classes"):
        return metadata.image_classes[item["label"]] if "label" in item else "no label"
    return {0: "no lesion", 1: "1 lesion"}.get(lesions, f"{lesions} lesions")


def _finish(canvas: Visualizer, image: np.ndarray, item: dict, label: str) -> InputPicture:
    canvas.draw_text(label, (2, 2), color="white", horizontal_alignment="left")
    pixels = canvas.get_output().get_image()
    return InputPicture(pixels, str(item["file_name"]), label, image.shape[:2])


def contact_sheet(pictures: Sequence[InputPicture], title: str) -> Figure:
    """The pictures, numbered from 1, in a roughly square grid."""
    columns = math.ceil(math.sqrt(len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure(figsize=(3 * columns, 3.4 * rows + 0.6), layout="constrained")
    for axis in figure.subplots(rows, columns, squeeze=False).flat:
        axis.axis("off")
    for number, (axis, picture) in enumerate(zip(figure.axes, pictures, strict=False), start=1):
        axis.imshow(picture.pixels)
        path, (height, width) = Path(picture.source), picture.size
        axis.set_title(
            f"{number}: {picture.label}, {height} x {width}\n{'/'.join(path.parts[-2:])[-40:]}",
            fontsize=8,
        )
    figure.suptitle(title, fontsize=10)
    return figure
