"""The segmenter and the classifier as modules that can be traced: one slice in, arrays out.

They call Detectron2's modules as the networks do, without Python values that depend on the slice.
Shapes: H x W pixels of the network's input, R regions, m x m mask logits, N rows of an RoI batch, C
classes.
"""

import copy

import torch
from detectron2.layers import shapes_to_tensor
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.proposal_generator import RPN
from detectron2.modeling.roi_heads import BaseMaskRCNNHead, FastRCNNOutputLayers
from detectron2.structures import Boxes, ImageList
from torch import nn

from ct_lesion.errors import UserError
from ct_lesion.modeling.fast.convolutions import fold_batchnorm
from ct_lesion.modeling.meta_arch import COVIDCTMaskNet
from ct_lesion.modeling.roi_batch import BoxOutputs, Ranking, box_outputs, rank_predictions


class SliceGraph(nn.Module):
    """Base of both graphs: the detector up to the box head.

    Attributes:
        outputs: names of the outputs, in order.
    """

    outputs: tuple[str, ...]

    def __init__(self, model: nn.Module) -> None:
        """
        Args:
            model: model in test mode; it is copied.
        """
        super().__init__()
        self.model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        fold_batchnorm(self.model)

    def detect(self, grey: torch.Tensor) -> tuple[dict[str, torch.Tensor], BoxOutputs]:
        """Feature maps and the box head's outputs of a slice ``(H, W)`` uint8."""
        model = self.model
        image = (grey.float().expand(3, -1, -1) - model.pixel_mean) / model.pixel_std
        backbone = model.backbone
        images = ImageList.from_tensors(
            [image],
            backbone.size_divisibility,
            padding_constraints=backbone.padding_constraints,
        )
        features = backbone(images.tensor)
        proposals, _ = model.proposal_generator(images, features, None)
        (outputs,) = box_outputs(model.roi_heads, features, proposals)
        return features, outputs


class SegmenterGraph(SliceGraph):
    """A segmenter, with the score threshold, NMS and number of detections of its config."""

    outputs = ("boxes", "scores", "classes", "mask_logits")

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect the regions of a slice, in decreasing score.

        Args:
            grey: ``(H, W)`` uint8.

        Returns:
            ``boxes`` ``(R, 4)`` float32, x0, y0, x1, y1 in pixels of ``grey``; ``scores`` ``(R,)``
            float32, 0..1; ``classes`` ``(R,)`` int64, from 0; ``mask_logits`` ``(R, m, m)``
            float32, of the region's class, above 0 is lesion.
        """
        features, outputs = self.detect(grey)
        heads = self.model.roi_heads
        predictor = heads.box_predictor
        region, lesion_class = rank_predictions(
            outputs,
            score_thresh=predictor.test_score_thresh,
            nms_thresh=predictor.test_nms_thresh,
            remove_empty=False,  # done below: Detectron2 drops boxes without area at the end
            size=predictor.test_topk_per_image,
        )
        boxes, scores = outputs.boxes[region, lesion_class], outputs.scores[region, lesion_class]
        (keep,) = (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero(as_tuple=True)
        boxes, scores, lesion_class = boxes[keep], scores[keep], lesion_class[keep]
        levels = [features[name] for name in heads.mask_in_features]
        logits = heads.mask_head.layers(heads.mask_pooler(levels, [Boxes(boxes)]))
        if logits.shape[1] > 1:  # one mask for each class, unless the head is class-agnostic
            logits = logits[torch.arange(lesion_class.shape[0]), lesion_class, None]
        return boxes, scores, lesion_class, logits[:, 0]


class ClassifierGraph(SliceGraph):
    """A COVID-CT-Mask-Net."""

    outputs = ("logits", "roi_batch")

    def __init__(self, model: COVIDCTMaskNet) -> None:
        super().__init__(model)
        # the padding depends only on the number of predictions M, so it becomes a table (N + 1, N)
        counts = range(model.roi_batch.size + 1)
        table = torch.stack([model.roi_batch.row_rank(count) for count in counts])
        self.register_buffer("row_ranks", table.to(torch.int16))

    def forward(self, grey: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``logits`` ``(C,)`` and ``roi_batch`` ``(N, 5)`` of a slice ``(H, W)`` uint8."""
        _, outputs = self.detect(grey)
        region, lesion_class = self.model.roi_batch.best(outputs)
        count = shapes_to_tensor([region.shape[0]])  # M; stays a variable in the traced graph
        row_rank = self.row_ranks.index_select(0, count)[0].long()
        rows = self.model.roi_batch.rows(outputs, Ranking(region, lesion_class, row_rank))
        return self.model.classifier(rows[None])[0], rows


def build_graph(model: nn.Module) -> SliceGraph:
    """Build the graph of a model in test mode.

    Raises:
        UserError: the model has parts that the graphs do not support.
    """
    heads = getattr(model, "roi_heads", None)
    standard = (
        isinstance(heads, StandardROIHeads)
        and isinstance(heads.box_predictor, FastRCNNOutputLayers)  # not a cascade
        and type(model.proposal_generator) is RPN
    )
    if standard and isinstance(model, COVIDCTMaskNet):
        return ClassifierGraph(model)
    has_masks = standard and isinstance(getattr(heads, "mask_head", None), BaseMaskRCNNHead)
    if has_masks and type(model) is GeneralizedRCNN:
        return SegmenterGraph(model)
    kind = f"{type(model).__name__} with {type(heads).__name__ if heads else 'no RoI heads'}"
    raise UserError(
        f"A {kind} cannot be exported. Choose a Mask R-CNN with an RPN and standard RoI heads, or "
        "a COVIDCTMaskNet."
    )
