"""A peer: torchvision's own Mask R-CNN with the same backbone, anchors and thresholds."""

import torch
from detectron2.config import CfgNode
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from ct_lesion.modeling.fast.inference import fast_inference

from .inference_rows import SCORE_THRESHOLD, in_batches
from .models import config_of, load_weights, random_model, shift_scores
from .row import Pair, Settings, register_row
from .slices import chest_slices
from .timing import Work


@register_row(
    "torchvision-resnet18_t1",
    work="segment slices, CPU, ResNet18_T1, beside torchvision's Mask R-CNN",
    unit="slice",
    first="torchvision, one slice at a time",
    second="fast path, all slices of a round in a batch",
    target=None,
    by_default=False,
)
def segment(settings: Settings) -> Pair:
    cfg = config_of(
        "segmentation/resnet18_t1.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", SCORE_THRESHOLD
    )
    model = random_model(cfg)
    inputs = chest_slices(settings.slices, settings.size)
    weights = load_weights(model, cfg, settings)
    if settings.weights is None:
        shift_scores(model, inputs, SCORE_THRESHOLD)
        weights += ", scores shifted"
    peer = torchvision_model(cfg, settings.size).eval()
    images = [item["image"] / 255 for item in inputs]
    facts = {
        "weights": weights,
        # its own weights are random and find nothing: it pastes no masks
        "torchvision's weights": "random; fewer detections, so less work after the box head",
        "torchvision's parameters": sum(p.numel() for p in peer.parameters()),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return Pair(
        _torchvision(peer, images),
        in_batches(fast_inference(model, cfg), inputs, len(inputs)),
        facts,
    )


def _torchvision(model: nn.Module, images: list[torch.Tensor]) -> Work:
    def work() -> int:
        with torch.inference_mode():
            for image in images:
                model([image])
        return len(images)

    return work


def torchvision_model(cfg: CfgNode, size: int) -> MaskRCNN:
    """Mask R-CNN from torchvision's parts, as a config of ResNet18_T1 describes ours."""
    torch.manual_seed(0)
    keys = cfg.MODEL
    channels, classes = keys.FPN.OUT_CHANNELS, keys.ROI_HEADS.NUM_CLASSES + 1
    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{keys.RESNETS.DEPTH}",
        weights=None,
        trainable_layers=5,
        returned_layers=[3],  # res4
        norm_layer=nn.BatchNorm2d,
    )
    # one level as ours: no pooled one beside it, and no layer4, which nothing reads
    backbone.fpn.extra_blocks = None
    box, mask = keys.ROI_BOX_HEAD, keys.ROI_MASK_HEAD
    pooled = channels * box.POOLER_RESOLUTION**2
    return MaskRCNN(
        backbone,
        min_size=size,
        max_size=size,
        image_mean=[value / 255 for value in keys.PIXEL_MEAN],
        image_std=[value / 255 for value in keys.PIXEL_STD],
        rpn_anchor_generator=AnchorGenerator(
            tuple(map(tuple, keys.ANCHOR_GENERATOR.SIZES)),
            tuple(map(tuple, keys.ANCHOR_GENERATOR.ASPECT_RATIOS)),
        ),
        rpn_pre_nms_top_n_test=keys.RPN.PRE_NMS_TOPK_TEST,
        rpn_post_nms_top_n_test=keys.RPN.POST_NMS_TOPK_TEST,
        rpn_nms_thresh=keys.RPN.NMS_THRESH,
        box_roi_pool=_pooler(box),
        box_head=TwoMLPHead(pooled, box.FC_DIM),
        box_predictor=FastRCNNPredictor(box.FC_DIM, classes),
        box_score_thresh=keys.ROI_HEADS.SCORE_THRESH_TEST,
        box_nms_thresh=keys.ROI_HEADS.NMS_THRESH_TEST,
        box_detections_per_img=cfg.TEST.DETECTIONS_PER_IMAGE,
        mask_roi_pool=_pooler(mask),
        mask_head=MaskRCNNHeads(channels, [mask.CONV_DIM] * mask.NUM_CONV, 1),
        mask_predictor=MaskRCNNPredictor(mask.CONV_DIM, mask.CONV_DIM, classes),
    )


def _pooler(head: CfgNode) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(["0"], head.POOLER_RESOLUTION, head.POOLER_SAMPLING_RATIO)
