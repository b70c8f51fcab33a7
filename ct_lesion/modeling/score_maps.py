"""Raw mask logits of the regions of a slice, and their combined map (paper, Figure 2, column 2).

Shapes: R regions of a slice, m x m logits per region (28 x 28 in the paper), H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from detectron2.modeling import GeneralizedRCNN
from detectron2.structures import Boxes, Instances
from scipy.ndimage import map_coordinates

from .roi_batch import box_outputs, rank_predictions, rescale_regions


@dataclass(frozen=True)
class MaskDetections:
    """The regions of a slice, in decreasing score.

    Attributes:
        boxes: (R, 4), x0, y0, x1, y1 in pixels of the original slice.
        scores: (R,), 0..1.
        classes: (R,), lesion class, from 0.
        logits: (R, m, m), mask logits of the region's class before the sigmoid; above 0 is lesion.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    logits: np.ndarray


@torch.no_grad()
def detect_with_mask_logits(
    model: GeneralizedRCNN,
    image: torch.Tensor,
    height: int,
    width: int,
    max_regions: int = 16,
    min_score: float = 0.05,
) -> MaskDetections:
    """Detect lesions in one slice and return the mask logits.

    The best region is kept whatever its score, so that slices without lesions have a map too. Boxes
    without area are dropped; NMS uses the model's threshold. The result is empty only if no box has
    an area.

    Args:
        model: a segmentation model, in test mode.
        image: (3, H, W), 0..255, channels in the order of ``INPUT.FORMAT``, resized as in a test.
        height, width: size of the original slice, in pixels.
        max_regions: the largest number of regions.
        min_score: regions other than the best one need a score above it.

    Raises:
        ValueError: the model is training or has no mask head, or ``max_regions`` is below 1.
    """
    heads = getattr(model, "roi_heads", None)
    if not getattr(heads, "mask_on", False):
        raise ValueError("The model has no mask head: a segmentation model is needed.")
    if model.training:
        raise ValueError("The model is in training mode: call eval() first.")
    if max_regions < 1:
        raise ValueError(f"max_regions is {max_regions}, expected at least 1.")

    images = model.preprocess_image([{"image": image}])
    features = model.backbone(images.tensor)
    proposals, _ = model.proposal_generator(images, features, None)
    found = _best_regions(heads, features, proposals, max_regions, min_score)

    levels = [features[name] for name in heads.mask_in_features]
    logits = heads.mask_head.layers(heads.mask_pooler(levels, [found.pred_boxes]))
    if logits.shape[1] > 1:  # one mask for each class, unless the head is class-agnostic
        logits = logits[torch.arange(len(found), device=logits.device), found.pred_classes, None]

    found = rescale_regions(found, height, width)
    return MaskDetections(
        boxes=found.pred_boxes.tensor.cpu().numpy(),
        scores=found.scores.cpu().numpy(),
        classes=found.pred_classes.cpu().numpy(),
        logits=logits[:, 0].cpu().numpy(),
    )


def _best_regions(
    heads: torch.nn.Module,
    features: dict[str, torch.Tensor],
    proposals: list[Instances],
    max_regions: int,
    min_score: float,
) -> Instances:
    """The regions of one image, in pixels of the network's input."""
    (outputs,) = box_outputs(heads, features, proposals)
    region, lesion_class = rank_predictions(
        outputs,
        score_thresh=-1.0,  # the best region is kept whatever its score
        nms_thresh=heads.box_predictor.test_nms_thresh,
        remove_empty=True,
        size=max_regions,
    )
    scores = outputs.scores[region, lesion_class]
    keep = scores > min_score
    keep[:1] = True
    return Instances(
        outputs.image_size,
        pred_boxes=Boxes(outputs.boxes[region, lesion_class][keep]),
        scores=scores[keep],
        pred_classes=lesion_class[keep],
    )


def paste_logits(box: np.ndarray, logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a region's logits to its box: (H, W), NaN outside the box.

    Bilinear, with pixel centres at half-integer coordinates as in Detectron2. A pixel belongs to
    the box if its centre does; a box without a pixel centre leaves the map empty.

    Args:
        box: (4,), x0, y0, x1, y1 in pixels, as floats.
        logits: (m, m).
        height, width: size of the slice, in pixels.
    """
    pasted = np.full((height, width), np.nan)
    x0, y0, x1, y1 = map(float, box)
    rows, row_places = _samples(y0, y1, height, logits.shape[0])
    columns, column_places = _samples(x0, x1, width, logits.shape[1])
    places = np.meshgrid(row_places, column_places, indexing="ij")
    # mode "nearest" extends the outermost logits to the edge of the box
    values = map_coordinates(np.asarray(logits, float), places, order=1, mode="nearest")
    pasted[rows, columns] = values
    return pasted


def _samples(start: float, end: float, pixels: int, bins: int) -> tuple[slice, np.ndarray]:
    """The pixels with ``start <= centre < end``, and their positions in units of bins."""
    first, last = (int(np.clip(np.ceil(edge - 0.5), 0, pixels)) for edge in (start, end))
    centres = np.arange(first, last) + 0.5
    # an empty interval holds no centre: "or 1.0" only avoids the division by zero
    return slice(first, last), (centres - start) / ((end - start) or 1.0) * bins - 0.5


def combine_score_map(boxes: np.ndarray, logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Combine the logits of all regions in one map: (H, W) float, NaN outside all boxes.

    Where boxes overlap the largest logit is kept, so a pixel is above 0 exactly if it belongs to
    the mask of at least one region.

    Args:
        boxes: (R, 4), x0, y0, x1, y1 in pixels.
        logits: (R, m, m).
        height, width: size of the slice, in pixels.
    """
    combined = np.full((height, width), np.nan)
    for box, values in zip(boxes, logits, strict=True):
        combined = np.fmax(combined, paste_logits(box, values, height, width))
    return combined


def region_masks(boxes: np.ndarray, logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """(R, H, W) bool: the pixels where a region's pasted logits are above 0."""
    masks = np.zeros((len(boxes), height, width), dtype=bool)
    for mask, box, values in zip(masks, boxes, logits, strict=True):
        mask[:] = paste_logits(box, values, height, width) > 0  # NaN is not above 0
    return masks
