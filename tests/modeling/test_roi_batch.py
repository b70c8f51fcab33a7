"""The RoI batch against numbers worked out by hand and a plain loop; properties of the padding.

Shapes: per image N RoIs, R proposals and M kept predictions; K lesion classes.
"""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from ct_lesion import load_config
from ct_lesion.modeling import RoIBatch
from ct_lesion.modeling.roi_batch import (
    BoxOutputs,
    clip_boxes,
    padding_ranks,
    rank_predictions,
    rescale_regions,
)

NAN = float("nan")


@pytest.fixture
def outputs() -> BoxOutputs:
    """Four proposals, two classes, an image of 100 x 200 pixels."""
    boxes = torch.tensor(
        [
            [[10.0, 10, 50, 50], [10, 10, 50, 50]],
            [[10, 10, 50, 48], [60, 60, 60, 90]],  # IoU 0.95 with the box above; no width
            [[-20, 0, 30, 20], [220, 10, 240, 30]],  # reaches out on the left; is outside
            [[NAN, 0, 9, 9], [0, 0, 99, 99]],  # not finite
        ]
    )
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]])
    deltas = torch.arange(4 * 2 * 4).view(4, 8).float()
    return BoxOutputs.from_predictor(boxes.flatten(1), scores, deltas, (100, 200))


# ---- padding ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("num_kept", "size", "expected"),
    [
        (3, 5, [0, 0, 1, 2, 2]),  # the paper's example: [3, 1, 2] becomes [3, 3, 1, 2, 2]
        (3, 3, [0, 1, 2]),
        (1, 4, [0, 0, 0, 0]),
        (2, 8, [0, 0, 0, 0, 1, 1, 1, 1]),
        (0, 3, [-1, -1, -1]),
    ],
)
def test_even_padding_by_hand(num_kept: int, size: int, expected: list[int]) -> None:
    assert padding_ranks(num_kept, size).tolist() == expected


@given(st.data(), st.integers(1, 300), st.sampled_from(["even", "random"]), st.integers(0, 99))
def test_padding_keeps_ranking_and_predictions(data, size: int, padding: str, seed: int) -> None:
    num_kept = data.draw(st.integers(1, size))
    ranks = padding_ranks(num_kept, size, padding, seed)
    assert ranks.shape == (size,)
    assert (ranks.diff() >= 0).all()
    assert set(ranks.tolist()) == set(range(num_kept)), "each prediction fills at least one row"
    assert torch.equal(ranks, padding_ranks(num_kept, size, padding, seed))
    if padding == "even":
        counts = ranks.bincount()
        assert counts.max() - counts.min() <= 1


def test_random_padding_depends_on_the_seed_only() -> None:
    torch.manual_seed(0)
    first = padding_ranks(40, 128, "random", seed=1)
    torch.manual_seed(1)
    assert torch.equal(first, padding_ranks(40, 128, "random", seed=1))
    assert not torch.equal(first, padding_ranks(40, 128, "random", seed=2))
    state = torch.get_rng_state()
    padding_ranks(40, 128, "random", seed=3)
    assert torch.equal(state, torch.get_rng_state()), "the global random state does not change"


@given(
    scores=st.lists(st.floats(0, 1, width=32), max_size=12),
    size=st.integers(1, 20),
    padding=st.sampled_from(["even", "random"]),
)
def test_rows_are_predictions_in_ranked_order(scores, size: int, padding: str) -> None:
    num = len(scores)
    start = torch.arange(num).float() * 10  # apart, so that NMS keeps all
    boxes = torch.stack([start, start, start + 5, start + 5], dim=1)
    foreground = torch.tensor(scores, dtype=torch.float32)
    deltas = torch.randn(num, 4)
    outputs = BoxOutputs.from_predictor(
        boxes, torch.stack([foreground, 1 - foreground], dim=1), deltas, (500, 500)
    )
    batch = RoIBatch(size=size, padding=padding)
    ranking = batch.rank(outputs)
    rows = batch.rows(outputs, ranking)
    assert rows.shape == (size, 5)
    assert (rows[:, 0].diff() <= 0).all()
    if not num:
        assert not rows.any()
        return
    predictions = {tuple(x) for x in torch.cat([foreground[:, None], deltas], dim=1).tolist()}
    present = {tuple(x) for x in rows.tolist()}
    assert present <= predictions
    assert len(present) == min(len(predictions), size) or len(set(scores)) < num
    assert int((~ranking.is_copy).sum()) == min(num, size)


# ---- choosing -----------------------------------------------------------------------------------
def test_ranking_by_hand(outputs: BoxOutputs) -> None:
    batch = RoIBatch(size=5)
    ranking = batch.rank(outputs)
    # kept: proposal 0 as class 0 (0.6), proposal 0 as class 1 (0.3), proposal 2 as class 0 (0.2)
    assert ranking.region.tolist() == [0, 0, 2]
    assert ranking.lesion_class.tolist() == [0, 1, 0]
    assert ranking.is_copy.tolist() == [False, True, False, False, True]
    first, second, third = [0.6, 0, 1, 2, 3], [0.3, 4, 5, 6, 7], [0.2, 16, 17, 18, 19]
    expected = torch.tensor([first, first, second, third, third])
    torch.testing.assert_close(batch.rows(outputs, ranking), expected)


def test_boxes_as_content_are_divided_by_the_image_size(outputs: BoxOutputs) -> None:
    batch = RoIBatch(size=3, content="boxes")
    rows = batch.rows(outputs, batch.rank(outputs))
    expected = [[0.6, 0.05, 0.1, 0.25, 0.5], [0.3, 0.05, 0.1, 0.25, 0.5], [0.2, 0, 0, 0.15, 0.2]]
    torch.testing.assert_close(rows, torch.tensor(expected))


def test_empty_boxes_may_stay(outputs: BoxOutputs) -> None:
    batch = RoIBatch(size=5, remove_empty=False)
    ranking = batch.rank(outputs)
    # 0.7 is the box outside the image, 0.4 the one without width
    assert outputs.scores[ranking.region, ranking.lesion_class].tolist() == pytest.approx(
        [0.7, 0.6, 0.4, 0.3, 0.2]
    )


def test_threshold_is_exclusive_and_size_cuts(outputs: BoxOutputs) -> None:
    keys = {"nms_thresh": 0.75, "remove_empty": True}
    region, _ = rank_predictions(outputs, score_thresh=0.3, size=9, **keys)
    assert region.tolist() == [0]
    region, _ = rank_predictions(outputs, score_thresh=-0.01, size=2, **keys)
    assert region.tolist() == [0, 0]


@pytest.mark.parametrize("remove_empty", [True, False])
def test_ranking_against_a_plain_loop(remove_empty: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.rand(60, 3, 2, generator=generator) * 60 - 5
    side = (torch.rand(60, 3, 2, generator=generator) * 30).round(decimals=-1)  # some are 0
    boxes = torch.cat([corner, corner + side], dim=-1)
    scores = torch.rand(60, 4, generator=generator)
    deltas = torch.randn(60, 12, generator=generator)
    candidates = []
    for region in range(60):
        for lesion_class in range(3):
            x0, y0, x1, y1 = (min(max(v, 0.0), 50.0) for v in boxes[region, lesion_class].tolist())
            if not remove_empty or (x1 - x0) * (y1 - y0) > 0:
                score = scores[region, lesion_class].item()
                candidates.append((score, region, lesion_class, [x0, y0, x1, y1]))
    score, _, classes, kept_boxes = zip(*candidates, strict=True)
    keep = batched_nms(
        torch.tensor(kept_boxes), torch.tensor(score), torch.tensor(classes), iou_threshold=0.3
    )
    expected = [candidates[i][1:3] for i in keep.tolist()][:40]

    outputs = BoxOutputs.from_predictor(boxes.flatten(1), scores, deltas, (50, 50))
    region, lesion_class = rank_predictions(
        outputs, score_thresh=-0.01, nms_thresh=0.3, remove_empty=remove_empty, size=40
    )
    assert list(zip(region.tolist(), lesion_class.tolist(), strict=True)) == expected


def test_class_agnostic_regression_serves_every_class() -> None:
    outputs = BoxOutputs.from_predictor(
        torch.tensor([[0.0, 0, 8, 8]]),
        torch.tensor([[0.5, 0.3, 0.2]]),
        torch.tensor([[1.0, 2, 3, 4]]),
        (10, 10),
    )
    batch = RoIBatch(size=2)
    rows = batch.rows(outputs, batch.rank(outputs))
    torch.testing.assert_close(rows, torch.tensor([[0.5, 1, 2, 3, 4], [0.3, 1, 2, 3, 4]]))


@pytest.mark.parametrize("num_proposals", [0, 2])
def test_no_valid_box_gives_rows_of_zeros(num_proposals: int) -> None:
    outputs = BoxOutputs.from_predictor(
        torch.full((num_proposals, 4), 7.0),  # a point
        torch.full((num_proposals, 2), 0.5),
        torch.ones(num_proposals, 4),
        (10, 10),
    )
    batch = RoIBatch(size=3)
    ranking = batch.rank(outputs)
    assert torch.equal(batch.rows(outputs, ranking), torch.zeros(3, 5))
    regions = batch.regions(outputs, ranking)
    assert len(regions) == 3
    assert regions.rank.tolist() == [-1] * 3
    assert regions.is_copy.all()
    assert not regions.scores.any()


def test_regions_say_which_rows_are_copies(outputs: BoxOutputs) -> None:
    batch = RoIBatch(size=5)
    regions = batch.regions(outputs, batch.rank(outputs))
    assert regions.image_size == (100, 200)
    assert regions.rank.tolist() == [0, 0, 1, 2, 2]
    assert regions.pred_classes.tolist() == [0, 0, 1, 0, 0]
    assert regions.scores.tolist() == pytest.approx([0.6, 0.6, 0.3, 0.2, 0.2])
    assert regions[~regions.is_copy].pred_boxes.tensor.tolist() == [
        [10, 10, 50, 50],
        [10, 10, 50, 50],
        [0, 0, 30, 20],
    ]


def test_gradients_reach_the_kept_predictions_only() -> None:
    scores = torch.tensor([[0.6, 0.4], [0.5, 0.5]], requires_grad=True)
    deltas = torch.ones(2, 4, requires_grad=True)
    boxes = torch.tensor([[0.0, 0, 9, 9], [3, 3, 3, 3]])
    outputs = BoxOutputs.from_predictor(boxes, scores, deltas, (10, 10))
    batch = RoIBatch(size=2)
    batch.rows(outputs, batch.rank(outputs)).sum().backward()
    assert scores.grad.tolist() == [[2, 0], [0, 0]]
    assert deltas.grad.tolist() == [[2] * 4, [0] * 4]


# ---- small pieces -------------------------------------------------------------------------------
def test_clip_boxes() -> None:
    clipped = clip_boxes(torch.tensor([[-1.0, -2, 30, 40], [5, 6, 7, 8]]), (10, 20))
    assert clipped.tolist() == [[0, 0, 20, 10], [5, 6, 7, 8]]


def test_rescaling_keeps_every_row_and_the_input() -> None:
    regions = Instances((10, 20))
    regions.pred_boxes = Boxes(torch.tensor([[1.0, 2, 3, 4], [5, 5, 5, 5]]))
    scaled = rescale_regions(regions, 30, 40)
    assert scaled.image_size == (30, 40)
    assert scaled.pred_boxes.tensor.tolist() == [[2, 6, 6, 12], [10, 15, 10, 15]]
    assert regions.pred_boxes.tensor.tolist() == [[1, 2, 3, 4], [5, 5, 5, 5]]


@pytest.mark.parametrize(
    ("key", "value", "choices"),
    [
        ("MODEL.ROI_BATCH.CONTENT", "box", "deltas, boxes"),
        ("MODEL.ROI_BATCH.PADDING", "none", "even, random"),
        ("MODEL.ROI_BATCH.SIZE", 0, "at least 1"),
    ],
)
def test_unknown_values_name_key_value_and_choices(key: str, value: object, choices: str) -> None:
    cfg = load_config("segmentation/resnet18_t2.yaml", [key, value])
    with pytest.raises(ValueError, match=f"{key} is {value!r}, expected .*{choices}"):
        RoIBatch(cfg)


def test_config_keys_arrive() -> None:
    cfg = load_config("segmentation/resnet18_t2.yaml", ["SEED", 7, "MODEL.ROI_BATCH.SIZE", 9])
    batch = RoIBatch(cfg)
    assert (batch.size, batch.seed, batch.padding, batch.content) == (9, 7, "even", "deltas")
    assert (batch.score_thresh, batch.nms_thresh, batch.remove_empty) == (-0.01, 0.75, True)
