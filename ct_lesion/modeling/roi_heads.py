"""RoI heads with softmax or sigmoid scores at test time (paper, section 3, hack 1)."""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, StandardROIHeads
from detectron2.modeling.roi_heads import FastRCNNOutputLayers
from detectron2.structures import BitMasks, Instances

from ct_lesion.config_values import check_choice

from .shared_masks import SharedBitMasks


class LesionBoxPredictor(FastRCNNOutputLayers):
    """Detectron2's box predictor with a choice of activation for the class scores at test.

    Shapes: R regions of all images, K foreground classes; the background is the last column.
    """

    @configurable
    def __init__(
        self, input_shape: ShapeSpec, *, score_activation: str = "softmax", **kwargs: object
    ) -> None:
        """
        Args:
            input_shape: shape of the box head's features.
            score_activation: "softmax" or "sigmoid", at test time only.
            kwargs: see Detectron2's ``FastRCNNOutputLayers``.

        Raises:
            ConfigError: an unknown ``score_activation``.
        """
        super().__init__(input_shape, **kwargs)
        key = "MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST"
        check_choice(key, score_activation)
        self.score_activation = score_activation

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        ret = super().from_config(cfg, input_shape)
        ret["score_activation"] = cfg.MODEL.ROI_BOX_HEAD.SCORE_ACTIVATION_TEST
        return ret

    def predict_probs(
        self, predictions: tuple[torch.Tensor, torch.Tensor], proposals: list[Instances]
    ) -> tuple[torch.Tensor, ...]:
        """Scores in [0, 1]: a tensor ``(R_i, K + 1)`` for each image."""
        if self.score_activation == "softmax":
            return super().predict_probs(predictions, proposals)
        logits, _ = predictions
        return logits.sigmoid().split([len(p) for p in proposals])


@ROI_HEADS_REGISTRY.register()
class LesionROIHeads(StandardROIHeads):
    """Detectron2's ``StandardROIHeads`` with :class:`LesionBoxPredictor`.

    Attributes:
        share_masks: whether regions sampled in training refer to the ground-truth masks instead of
            copying them. The results are the same.
    """

    share_masks = False

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super()._init_box_head(cfg, input_shape)
        ret["box_predictor"] = LesionBoxPredictor(cfg, ret["box_head"].output_shape)
        return ret

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Like ``StandardROIHeads``, with shared masks if ``share_masks`` is set."""
        if self.share_masks:
            targets = [_share_masks(target) for target in targets]
        return super().label_and_sample_proposals(proposals, targets)


def _share_masks(target: Instances) -> Instances:
    fields = dict(target.get_fields())
    if isinstance(fields.get("gt_masks"), BitMasks):
        fields["gt_masks"] = SharedBitMasks(fields["gt_masks"])
    return Instances(target.image_size, **fields)
