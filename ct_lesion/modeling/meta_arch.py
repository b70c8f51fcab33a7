"""COVID-CT-Mask-Net: classifies a slice by the ranked regions of a lesion detector.

Shapes: B images, N RoIs per image, C classes, H x W pixels.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import move_device_like
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    Backbone,
    StandardROIHeads,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import nn

from ct_lesion.config_values import check_choice
from ct_lesion.errors import ConfigError

from .backbone import main_path_batchnorms
from .classifier import ClassificationModule, classification_loss, image_labels
from .region_drawing import draw_regions
from .roi_batch import BoxOutputs, RoIBatch, box_outputs, rescale_regions


@META_ARCH_REGISTRY.register()
class COVIDCTMaskNet(nn.Module):
    """Detectron2's backbone, RPN and box head without a mask branch, an RoI batch, and S.

    Parameter names match the segmentation model's, so a segmentation checkpoint loads unchanged;
    only ``classifier`` is newly initialised. The detector always stays in test mode: running
    statistics never change and the RPN uses its test settings. S is trained and, if
    ``train_batchnorm`` is "affine", the scales and shifts of the BatchNorm layers on the backbone's
    main path.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        roi_heads: StandardROIHeads,
        roi_batch: RoIBatch,
        classifier: ClassificationModule,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        train_batchnorm: str = "affine",
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        """
        Args:
            backbone, proposal_generator, roi_heads: Detectron2's modules; only the heads' box
                branch is used.
            roi_batch: ranks the regions.
            classifier: module S.
            pixel_mean, pixel_std: a value for each channel, for pixels in 0..255.
            train_batchnorm: "affine" or "none".
            input_format: "RGB" or "BGR", for drawing.
            vis_period: iterations between drawings of a slice of the batch; 0 for none.

        Raises:
            ConfigError: an unknown ``train_batchnorm``, or "affine" without a BatchNorm layer.
        """
        super().__init__()
        check_choice("MODEL.CLASSIFIER.TRAIN_BATCHNORM", train_batchnorm)
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.roi_batch = roi_batch
        self.classifier = classifier
        self.train_batchnorm = train_batchnorm
        self.input_format = input_format
        self.vis_period = vis_period
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        self._freeze_detector()
        self.train()  # puts the detector into test mode; nn.Module starts in training mode

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        _check_keys(cfg)
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "roi_heads": build_roi_heads(cfg, backbone.output_shape()),
            "roi_batch": RoIBatch(cfg),
            "classifier": ClassificationModule(cfg),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "train_batchnorm": cfg.MODEL.CLASSIFIER.TRAIN_BATCHNORM,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }

    @property
    def device(self) -> torch.device:
        """The device of the model."""
        return self.pixel_mean.device

    def train(self, mode: bool = True) -> "COVIDCTMaskNet":
        """Set the mode of S; the detector stays in test mode."""
        super().train(mode)
        for module in (self.backbone, self.proposal_generator, self.roi_heads):
            module.eval()
        return self

    def _freeze_detector(self) -> None:
        for module in (self.backbone, self.proposal_generator, self.roi_heads):
            module.requires_grad_(False)
        if self.train_batchnorm == "none":
            return
        norms = list(main_path_batchnorms(self.backbone))
        if not norms:
            raise ConfigError(
                "MODEL.CLASSIFIER.TRAIN_BATCHNORM is 'affine', but the backbone has no BatchNorm "
                "layer to train: set MODEL.RESNETS.NORM to BN, or TRAIN_BATCHNORM to none."
            )
        for norm in norms:
            norm.requires_grad_(True)

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """
        Args:
            batched_inputs: a dict for each image with

                * ``image``: ``(3, H, W)``, 0..255; or ``roi_batch``: ``(N, 5)``, an earlier output
                  of this model, which skips the detector;
                * ``label``: class of the image, required in training;
                * ``height``, ``width``: size of the original slice, if it differs from H, W.

        Returns:
            In training ``{"loss_cls": ...}``. Otherwise a dict for each image with

            * ``logits`` ``(C,)``;
            * ``probabilities`` ``(C,)``: the softmax of the logits. S is trained with binary
              cross-entropy for each class; ``logits.sigmoid()`` are the independent scores;
            * ``pred_class``: argmax, a tensor without dimensions;
            * ``roi_batch`` ``(N, 5)``: the input of S;
            * ``instances``, unless the input was an ``roi_batch``: the N ranked regions in pixels
              of the original slice, see :meth:`RoIBatch.regions`.
        """
        if not self.training:
            return self.inference(batched_inputs)
        rows, regions = self._roi_batches(batched_inputs)
        logits = self.classifier(rows).float()
        labels = image_labels(batched_inputs, self.classifier.num_classes).to(self.device)
        if regions:
            self.visualize_training(batched_inputs, regions, logits)
        return {"loss_cls": classification_loss(logits, labels)}

    def inference(
        self,
        batched_inputs: list[dict],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict]:
        """Classify images; returns what :meth:`forward` returns in test mode.

        Args:
            batched_inputs: see :meth:`forward`.
            detected_instances: as in Detectron2's ``GeneralizedRCNN``, but must be ``None``.
            do_postprocess: scale ``instances`` to pixels of the original slice; otherwise they are
                in pixels of ``image``.

        Raises:
            ValueError: ``detected_instances`` are given.
        """
        if detected_instances is not None:
            raise ValueError(
                "COVIDCTMaskNet ranks its own regions and takes no detected_instances. An "
                "'roi_batch' in the inputs skips the detector."
            )
        rows, regions = self._roi_batches(batched_inputs)
        logits = self.classifier(rows).float()
        results = [
            {"logits": x, "probabilities": x.softmax(0), "pred_class": x.argmax(), "roi_batch": r}
            for x, r in zip(logits.unbind(), rows.unbind(), strict=True)
        ]
        for result, found, item in zip(results, regions, batched_inputs, strict=False):
            height, width = found.image_size
            size = (item.get("height", height), item.get("width", width))
            result["instances"] = rescale_regions(found, *size) if do_postprocess else found
        return results

    def visualize_training(
        self, batched_inputs: list[dict], regions: list[Instances], logits: torch.Tensor
    ) -> None:
        """Put a picture of the first slice's regions and classes into the event storage.

        A subclass may draw something else.
        """
        true, predicted = batched_inputs[0]["label"], int(logits[0].argmax())
        text = f"true class {true}, predicted {predicted}"
        image = batched_inputs[0]["image"]
        picture = draw_regions(image, self.input_format, regions[0], text)
        get_event_storage().put_image("Ranked regions, true and predicted class", picture)

    def _draws(self) -> bool:
        return (
            self.training
            and self.vis_period > 0
            and has_event_storage()
            and get_event_storage().iter % self.vis_period == 0
        )

    def _roi_batches(self, batched_inputs: list[dict]) -> tuple[torch.Tensor, list[Instances]]:
        """RoI batches ``(B, N, 5)``, and regions if the inputs are images and regions are used."""
        given = ["roi_batch" in item for item in batched_inputs]
        if not any(given):
            return self._detect(batched_inputs)
        if not all(given):
            raise ValueError("Some inputs of the batch have an 'roi_batch', others do not.")
        if self.training and self.train_batchnorm == "affine":
            raise ValueError(
                "The inputs are precomputed RoI batches, which cannot train the BatchNorm layers: "
                "set MODEL.CLASSIFIER.TRAIN_BATCHNORM to none."
            )
        return torch.stack([item["roi_batch"] for item in batched_inputs]).to(self.device), []

    def _detect(self, batched_inputs: list[dict]) -> tuple[torch.Tensor, list[Instances]]:
        """Run the detector once for the images of each size.

        Padding to a common size would change regions near the border, so the RoI batch of a slice
        would depend on the other slices of the batch. Most batches have only one size.
        """
        rows: dict[int, torch.Tensor] = {}
        regions: dict[int, Instances] = {}
        keep_regions = not self.training or self._draws()
        for indices in self._same_size([item["image"] for item in batched_inputs]):
            images = self.preprocess_image([batched_inputs[i] for i in indices])
            outputs, rankings = self._rank_regions(images)
            for index, output, ranking in zip(indices, outputs, rankings, strict=True):
                rows[index] = self.roi_batch.rows(output, ranking)
                if keep_regions:
                    regions[index] = self.roi_batch.regions(output, ranking)
        return torch.stack([rows[i] for i in sorted(rows)]), [regions[i] for i in sorted(regions)]

    def _same_size(self, images: list[torch.Tensor]) -> Iterator[list[int]]:
        """Indices of the images, grouped by their size padded to the backbone's stride."""
        stride = max(self.backbone.size_divisibility, 1)
        groups = defaultdict(list)
        for index, image in enumerate(images):
            groups[tuple(math.ceil(side / stride) for side in image.shape[-2:])].append(index)
        yield from groups.values()

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise the images, pad them to the largest and batch them, as in Detectron2."""
        images = [move_device_like(item["image"], self.pixel_mean) for item in batched_inputs]
        normalized = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(
            normalized,
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _rank_regions(self, images: ImageList) -> tuple[list[BoxOutputs], list]:
        """Box outputs and rankings of images of one size.

        Gradients are recorded for the backbone, and for the box head on the kept proposals only (at
        most N of about 1,000), which pass through the head a second time.
        """
        with_grad = self.training and self.train_batchnorm == "affine" and torch.is_grad_enabled()
        with torch.set_grad_enabled(with_grad):
            features = self.backbone(images.tensor)
        with torch.no_grad():
            proposals, _ = self.proposal_generator(images, features, None)
            outputs = box_outputs(self.roi_heads, features, proposals)
            rankings = [self.roi_batch.rank(output) for output in outputs]
        if with_grad:
            kept = [p[r.region] for p, r in zip(proposals, rankings, strict=True)]
            outputs = box_outputs(self.roi_heads, features, kept)
            rankings = [ranking.renumbered() for ranking in rankings]
        return outputs, rankings


def _check_keys(cfg: CfgNode) -> None:
    """Check that branches that the architecture lacks are disabled.

    Raises:
        ConfigError: such a branch is enabled.
    """
    for key in ("MASK_ON", "KEYPOINT_ON", "LOAD_PROPOSALS"):
        if cfg.MODEL[key]:
            raise ConfigError(
                f"MODEL.{key} is True, but MODEL.META_ARCHITECTURE {COVIDCTMaskNet.__name__} has "
                "no such branch: set the key to False."
            )
