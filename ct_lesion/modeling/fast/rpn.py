"""Detectron2's RPN for inference, which decodes only the anchors with the best scores.

Shapes: N images, A anchors per location, Hi x Wi locations of the i-th feature map, k anchors kept.
"""

from collections.abc import Mapping

import torch
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, ImageList, Instances
from torch import nn

from .nms import fast_batched_nms


class FastRPN(nn.Module):
    """Replaces Detectron2's ``RPN`` for inference.

    Detectron2 decodes all deltas, about 30,000 for a slice of 512 x 512, and then keeps the 1,000
    best. This class selects the best scores first and caches the anchors of the last slice size.
    """

    def __init__(self, plain: RPN) -> None:
        super().__init__()
        self.in_features = plain.in_features
        self.rpn_head = plain.rpn_head
        self.anchor_generator = plain.anchor_generator
        self.box2box_transform = plain.box2box_transform
        self.pre_nms_topk = plain.pre_nms_topk[False]
        self.post_nms_topk = plain.post_nms_topk[False]
        self.nms_thresh = plain.nms_thresh
        self.min_box_size = plain.min_box_size
        self._sizes: list[torch.Size] = []
        self._anchors: list[torch.Tensor] = []

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, torch.Tensor],
        gt_instances: None = None,
    ) -> tuple[list[Instances], dict]:
        """The proposals of each image and no losses, like ``RPN.forward`` in test mode."""
        levels = [features[name] for name in self.in_features]
        logits, deltas = self.rpn_head(levels)
        boxes, scores = [], []
        for level in zip(self._anchors_of(levels), logits, deltas, strict=True):
            level_boxes, level_scores = self._best(*level)
            boxes.append(level_boxes)
            scores.append(level_scores)
        level_of = torch.cat([torch.full((s.shape[1],), i) for i, s in enumerate(scores)])
        level_of = level_of.to(scores[0].device)
        proposals = [
            self._proposals(Boxes(image_boxes), image_scores, level_of, size)
            for image_boxes, image_scores, size in zip(
                torch.cat(boxes, dim=1), torch.cat(scores, dim=1), images.image_sizes, strict=True
            )
        ]
        return proposals, {}

    def _proposals(
        self, boxes: Boxes, scores: torch.Tensor, levels: torch.Tensor, size: tuple[int, int]
    ) -> Instances:
        """An image's proposals after NMS, like Detectron2's ``find_top_rpn_proposals``."""
        finite = boxes.tensor.isfinite().all(dim=1) & scores.isfinite()
        boxes, scores, levels = boxes[finite], scores[finite], levels[finite]
        boxes.clip(size)
        large = boxes.nonempty(threshold=self.min_box_size)
        boxes, scores, levels = boxes[large], scores[large], levels[large]
        keep = fast_batched_nms(boxes.tensor, scores, levels, self.nms_thresh)
        keep = keep[: self.post_nms_topk]
        return Instances(size, proposal_boxes=boxes[keep], objectness_logits=scores[keep])

    def _best(
        self, anchors: torch.Tensor, logits: torch.Tensor, deltas: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes ``(N, k, 4)`` and scores ``(N, k)`` of one level, in decreasing score."""
        images = len(logits)
        scores = logits.permute(0, 2, 3, 1).flatten(1)  # (N, Hi * Wi * A)
        scores, index = scores.topk(min(scores.shape[1], self.pre_nms_topk), dim=1)
        # (N, A * 4, Hi, Wi) -> (N, Hi * Wi * A, 4), a view of channels-last memory
        deltas = deltas.permute(0, 2, 3, 1).reshape(images, -1, 4)
        best = deltas.gather(1, index.unsqueeze(2).expand(-1, -1, 4)).flatten(0, 1)
        boxes = self.box2box_transform.apply_deltas(best, anchors[index.flatten()])
        return boxes.view(images, -1, 4), scores

    def _anchors_of(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """The anchors ``(Hi * Wi * A, 4)`` of each level, cached for one size."""
        sizes = [level.shape[-2:] for level in levels]
        if sizes != self._sizes or self._anchors[0].device != levels[0].device:
            self._anchors = [boxes.tensor for boxes in self.anchor_generator(levels)]
            self._sizes = sizes
        return self._anchors
