"""Draws the regions that the classifier reads on their slice."""

import numpy as np
import torch
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import Instances

MOST_DRAWN = 20
"""Detectron2 draws the same number of proposals."""


def draw_regions(
    image: torch.Tensor, image_format: str | None, regions: Instances, text: str
) -> np.ndarray:
    """Draw the best regions of a slice with their rank and score, without copies.

    Args:
        image: ``(3, H, W)``, 0..255.
        image_format: "RGB" or "BGR".
        regions: boxes in pixels of the image, see :meth:`RoIBatch.regions`.
        text: written above the picture.

    Returns:
        ``(3, H', W')`` uint8, RGB.
    """
    from detectron2.utils.visualizer import Visualizer  # imports matplotlib

    rgb = convert_image_to_rgb(image.detach().cpu().permute(1, 2, 0), image_format)
    drawn = regions[~regions.is_copy][:MOST_DRAWN].to("cpu")
    labels = [
        f"{rank + 1}: {score:.2f}"
        for rank, score in zip(drawn.rank.tolist(), drawn.scores.tolist(), strict=True)
    ]
    picture = Visualizer(rgb, None)
    picture.overlay_instances(boxes=drawn.pred_boxes.tensor.detach().numpy(), labels=labels)
    picture.draw_text(text, (rgb.shape[1] / 2, 0))
    return picture.output.get_image().transpose(2, 0, 1)
