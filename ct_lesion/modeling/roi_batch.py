"""The RoI batch: the ranked regions of a slice that the classifier reads (paper, section 3).

Shapes: per image N RoIs, R proposals and M kept predictions; K lesion classes. A prediction is a
(proposal, class) pair; a row is [score, dx, dy, dw, dh] of a prediction.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import batched_nms, shapes_to_tensor
from detectron2.modeling import StandardROIHeads
from detectron2.structures import Boxes, Instances

from ct_lesion.config_values import check_choice
from ct_lesion.errors import ConfigError

NMS = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Maps boxes, scores, classes and an IoU threshold to the indices of the kept boxes."""


@dataclass(frozen=True)
class Ranking:
    """The kept predictions of an image in decreasing score, and how they fill its N rows."""

    region: torch.Tensor  # (M,), index of the proposal
    lesion_class: torch.Tensor  # (M,)
    row_rank: torch.Tensor  # (N,), rank of the prediction in a row, non-decreasing; -1 if M is 0

    @property
    def is_copy(self) -> torch.Tensor:
        """``(N,)``: rows that repeat the row above, and all rows if no prediction was kept."""
        copies = self.row_rank < 0
        copies[1:] |= self.row_rank[1:] == self.row_rank[:-1]
        return copies

    def renumbered(self) -> "Ranking":
        """The same ranking for outputs that were computed for the kept proposals only."""
        return Ranking(
            torch.arange(len(self.region), device=self.region.device),
            self.lesion_class,
            self.row_rank,
        )


@dataclass(frozen=True)
class BoxOutputs:
    """The box head's outputs for the proposals of one image."""

    boxes: torch.Tensor  # (R, K, 4), decoded and clipped to the image
    scores: torch.Tensor  # (R, K + 1), the background is the last column
    deltas: torch.Tensor  # (R, K, 4), encoded
    image_size: tuple[int, int]  # height, width of the network's input

    @classmethod
    def from_predictor(
        cls,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        deltas: torch.Tensor,
        image_size: tuple[int, int],
    ) -> "BoxOutputs":
        """Convert boxes and deltas ``(R, 4 * K)``, or class-agnostic ``(R, 4)``, of Detectron2.

        ``boxes`` are decoded but not clipped.
        """
        num_classes = scores.shape[1] - 1
        return cls(
            clip_boxes(_per_class(boxes, num_classes), image_size),
            scores,
            _per_class(deltas, num_classes),
            image_size,
        )


def box_outputs(
    heads: StandardROIHeads, features: Mapping[str, torch.Tensor], proposals: list[Instances]
) -> list[BoxOutputs]:
    """The outputs of the box branch for the proposals of each image.

    Args:
        heads: Detectron2's heads with a box branch.
        features: the backbone's feature maps by name.
        proposals: the ``proposal_boxes`` of each image.
    """
    levels = [features[name] for name in heads.box_in_features]
    pooled = heads.box_pooler(levels, [p.proposal_boxes for p in proposals])
    predictor = heads.box_predictor
    predictions = predictor(heads.box_head(pooled))
    return [
        BoxOutputs.from_predictor(boxes, scores, deltas, proposal.image_size)
        for boxes, scores, deltas, proposal in zip(
            predictor.predict_boxes(predictions, proposals),
            predictor.predict_probs(predictions, proposals),
            predictions[1].split([len(p) for p in proposals]),
            proposals,
            strict=True,
        )
    ]


def _per_class(values: torch.Tensor, num_classes: int) -> torch.Tensor:
    """``(R, 4 * K)`` or class-agnostic ``(R, 4)`` as ``(R, K, 4)``."""
    rows, width = values.shape
    return values.view(rows, width // 4, 4).expand(rows, num_classes, 4)


def clip_boxes(boxes: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
    """Boxes ``(..., 4)`` clipped to an image of (height, width). Differentiable."""
    return boxes.clamp(min=0).minimum(_far_corner(image_size, boxes))


def _far_corner(image_size: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
    """``(4,)``: width, height, width, height; in tracing the size stays a variable."""
    height, width = image_size
    return shapes_to_tensor([width, height, width, height]).to(like)


def rank_predictions(
    outputs: BoxOutputs,
    *,
    score_thresh: float,
    nms_thresh: float,
    remove_empty: bool,
    size: int,
    nms: NMS = batched_nms,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Select the best predictions of an image, at most ``size``.

    Drops proposals with a non-finite box or score, as Detectron2 does, then predictions with a
    score at or below ``score_thresh`` and, with ``remove_empty``, boxes without area; then applies
    NMS to each class.

    Returns:
        proposal indices ``(M,)`` and classes ``(M,)``, M <= size, in decreasing score.
    """
    boxes, scores = outputs.boxes.detach(), outputs.scores.detach()
    finite = boxes.isfinite().all(dim=-1) & scores.isfinite().all(dim=-1, keepdim=True)
    scores = scores[:, :-1]
    valid = finite.all(dim=1, keepdim=True) & (scores > score_thresh)
    if remove_empty:
        valid = valid & (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
    region, lesion_class = valid.nonzero(as_tuple=True)
    keep = nms(boxes[region, lesion_class], scores[region, lesion_class], lesion_class, nms_thresh)[
        :size
    ]
    return region[keep], lesion_class[keep]


def padding_ranks(num_kept: int, size: int, padding: str = "even", seed: int = 0) -> torch.Tensor:
    """Rank of the prediction in each row of the RoI batch: ``(size,)``, non-decreasing.

    Each of the ``num_kept`` predictions fills at least one row: ``[3, 1, 2]`` fills five rows as
    ``[3, 3, 1, 2, 2]``. All ranks are -1 if no prediction was kept.

    Args:
        num_kept: number of predictions, at most ``size``.
        size: number of rows, N.
        padding: "even" spreads the copies evenly over the ranks; "random" draws each missing row
            from all kept predictions.
        seed: seed of the draws, which depend only on ``seed``, ``num_kept`` and ``size``: a slice
            has the same RoI batch in every epoch, batch and process.
    """
    if num_kept == 0:
        return torch.full((size,), -1)
    if padding == "even":
        # the middle of row i, (i + 0.5) / size, in units of predictions; exact in integers
        return (2 * torch.arange(size) + 1) * num_kept // (2 * size)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + num_kept)
    drawn = torch.randint(num_kept, (size - num_kept,), generator=generator)
    return torch.cat([torch.arange(num_kept), drawn]).sort().values


class RoIBatch:
    """Turns the box head's outputs into ranked batches of exactly N rows.

    Call :meth:`rank`, then :meth:`rows`. The two are separate because training needs gradients only
    for the kept predictions.
    """

    @configurable
    def __init__(
        self,
        *,
        size: int = 128,
        score_thresh: float = -0.01,
        nms_thresh: float = 0.75,
        remove_empty: bool = True,
        content: str = "deltas",
        padding: str = "even",
        seed: int = 0,
    ) -> None:
        """
        Args:
            size: N, the number of rows of an image.
            score_thresh: predictions with a score at or below it are dropped.
            nms_thresh: IoU above which the lower-scored of two boxes of a class is dropped.
            remove_empty: whether boxes without area are dropped.
            content: the geometry in a row beside the score, "deltas" or "boxes".
            padding: "even" or "random", see :func:`padding_ranks`.
            seed: seed of the random padding.

        Raises:
            ConfigError: an unknown ``content`` or ``padding``, or ``size`` below 1.
        """
        check_choice("MODEL.ROI_BATCH.CONTENT", content)
        check_choice("MODEL.ROI_BATCH.PADDING", padding)
        if size < 1:
            raise ConfigError(f"MODEL.ROI_BATCH.SIZE is {size}, expected at least 1.")
        self.size = size
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.remove_empty = remove_empty
        self.content = content
        self.padding = padding
        self.seed = seed
        self.nms: NMS = batched_nms  # the fast path sets an equivalent

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        keys = cfg.MODEL.ROI_BATCH
        return {
            "size": keys.SIZE,
            "score_thresh": keys.SCORE_THRESH,
            "nms_thresh": keys.NMS_THRESH,
            "remove_empty": keys.REMOVE_EMPTY,
            "content": keys.CONTENT,
            "padding": keys.PADDING,
            # a negative SEED means "not seeded", but a slice's batch must not change between runs
            "seed": max(cfg.SEED, 0),
        }

    def best(self, outputs: BoxOutputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Indices of proposals ``(M,)`` and classes ``(M,)`` of the best predictions, M <= N."""
        return rank_predictions(
            outputs,
            score_thresh=self.score_thresh,
            nms_thresh=self.nms_thresh,
            remove_empty=self.remove_empty,
            size=self.size,
            nms=self.nms,
        )

    def rank(self, outputs: BoxOutputs) -> Ranking:
        """The N best predictions of an image; if there are fewer, some fill several rows."""
        region, lesion_class = self.best(outputs)
        row_rank = self.row_rank(len(region))
        return Ranking(region, lesion_class, row_rank.to(region.device))

    def row_rank(self, num_kept: int) -> torch.Tensor:
        """``(N,)``: the rank of the prediction in each row, see :func:`padding_ranks`."""
        return padding_ranks(num_kept, self.size, self.padding, self.seed)

    def rows(self, outputs: BoxOutputs, ranking: Ranking) -> torch.Tensor:
        """``(N, 5)``: the rows of an image; zeros if no prediction was kept.

        Gradients flow into scores and deltas (or boxes).
        """
        kept = (ranking.region, ranking.lesion_class)
        if self.content == "deltas":
            geometry = outputs.deltas[kept]
        else:
            geometry = outputs.boxes[kept]
            geometry = geometry / _far_corner(outputs.image_size, geometry)
        rows = torch.cat([outputs.scores[kept].unsqueeze(1), geometry], dim=1)
        # Rank -1 selects the row of zeros at the end. An image without predictions still has
        # gradients (of 0), which distributed training needs for every trainable parameter.
        return torch.cat([rows, rows.new_zeros(1, 5)])[ranking.row_rank].float()

    def regions(self, outputs: BoxOutputs, ranking: Ranking) -> Instances:
        """The N rows of an image as Detectron2's ``Instances``, in pixels of the network's input.

        Fields: ``pred_boxes``, ``scores``, ``pred_classes``, ``rank`` (of the prediction, from 0)
        and ``is_copy``. If no prediction was kept: empty boxes, score 0, rank -1, all copies.
        """
        result = Instances(outputs.image_size)
        if len(ranking.region) == 0:
            result.pred_boxes = Boxes(outputs.boxes.new_zeros(self.size, 4))
            result.scores = outputs.scores.new_zeros(self.size)
            result.pred_classes = ranking.row_rank.new_zeros(self.size)
        else:
            region, lesion_class = (
                index[ranking.row_rank] for index in (ranking.region, ranking.lesion_class)
            )
            result.pred_boxes = Boxes(outputs.boxes[region, lesion_class])
            result.scores = outputs.scores[region, lesion_class]
            result.pred_classes = lesion_class
        result.rank = ranking.row_rank
        result.is_copy = ranking.is_copy
        return result


def rescale_regions(regions: Instances, height: int, width: int) -> Instances:
    """Scale regions from the network's input to the size of the original slice, in pixels.

    Unlike Detectron2's ``detector_postprocess`` it keeps boxes without area, so all N rows stay.
    """
    old_height, old_width = regions.image_size
    scaled = Instances((height, width), **regions.get_fields())
    boxes = regions.pred_boxes.clone()
    boxes.scale(width / old_width, height / old_height)
    boxes.clip((height, width))
    scaled.pred_boxes = boxes
    return scaled
