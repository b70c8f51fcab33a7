"""Draws what the classifier reads: the ranked regions on their slice."""

import numpy as np
import torch
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.structures import Instances

MOST_DRAWN = 20
"""As many as Detectron2 draws proposals."""


def draw_regions(
    image: torch.Tensor, image_format: str | None, regions: Instances, text: str
) -> np.ndarray:
    """The best regions of a slice with rank and score, copies left out.

    Args:
        image: ``(3, H, W)``, 0..255.
        image_format: "RGB" or "BGR".
        regions: in pixels of the image, see :meth:`RoIBatch.regions`.
        text: written above the picture.

    Returns:
        ``(3, H', W')`` uint8, RGB.
    """
    from detectron2.utils.visualizer import Visualizer  # imports matplotlib

    rgb = convert_image_to_rgb(image.detach().cpu().permute(1, 2, 0), image_format)
    own = regions[~regions.is_copy][:MOST_DRAWN].to("cpu")
    labels = [
        f"{rank + 1}: {score:.2f}"
        for rank, score in zip(own.rank.tolist(), own.scores.tolist(), strict=True)
    ]
    picture = Visualizer(rgb, None)
    picture.overlay_instances(boxes=own.pred_boxes.tensor.detach().numpy(), labels=labels)
    picture.draw_text(text, (rgb.shape[1] / 2, 0))
    return picture.output.get_image().transpose(2, 0, 1)
