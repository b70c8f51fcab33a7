"""Mask logits and their map, compared with the model's masks and with Detectron2's pasting."""

import numpy as np
import pytest
import torch
from detectron2.layers import paste_masks_in_image
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from ct_lesion import load_config
from ct_lesion.modeling.score_maps import (
    combine_score_map,
    detect_with_mask_logits,
    paste_logits,
    region_masks,
)

SMALL = ["MODEL.DEVICE", "cpu"]
SMALL += ["MODEL.RPN.PRE_NMS_TOPK_TEST", 200, "MODEL.RPN.POST_NMS_TOPK_TEST", 60]


def make_model(leaf: str, *overrides: object) -> torch.nn.Module:
    """Random weights, larger than the initial ones, so that regions and masks differ."""
    torch.manual_seed(0)
    model = build_model(load_config(f"segmentation/{leaf}.yaml", [*SMALL, *overrides])).eval()
    large = ("cls_score.weight", "bbox_pred.weight", "objectness_logits.weight")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith((*large, "mask_head.predictor.weight")):
                parameter.mul_(30)
    return model


def make_image() -> torch.Tensor:
    return torch.randint(256, (3, 64, 80), generator=torch.Generator().manual_seed(5)).float()


@pytest.fixture(scope="module", params=["resnet18_t2", "resnet18_t1_both"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    """Models with one lesion class and with two."""
    return make_model(request.param)


def test_regions_and_masks_equal_those_of_the_models_inference(model, monkeypatch):
    image = make_image()
    scores = detect_with_mask_logits(model, image, 64, 80, min_score=-1.0).scores
    threshold = float(scores[4:6].mean())  # five regions are above it
    monkeypatch.setattr(model.roi_heads.box_predictor, "test_score_thresh", threshold)
    found = detect_with_mask_logits(model, image, 64, 80, min_score=threshold)
    with torch.no_grad():
        (expected,) = model.inference([{"image": image}], do_postprocess=False)
    expected = expected[expected.pred_boxes.nonempty()]
    assert len(expected) == 5
    np.testing.assert_allclose(found.boxes, expected.pred_boxes.tensor, atol=1e-4)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert found.classes.tolist() == expected.pred_classes.tolist()
    masks = torch.from_numpy(found.logits).sigmoid()
    assert masks.shape == (5, 28, 28)
    assert masks.std() > 0.01
    torch.testing.assert_close(masks, expected.pred_masks[:, 0], atol=1e-5, rtol=0)


def test_the_logits_belong_to_the_boxes(model):
    """The model predicts the same masks for these boxes, even if they are only a few."""
    image = make_image()
    found = detect_with_mask_logits(model, image, 64, 80, max_regions=7, min_score=-1.0)
    assert len(found.boxes) == 7
    assert (np.diff(found.scores) <= 0).all()
    given = Instances(
        (64, 80),
        pred_boxes=Boxes(torch.from_numpy(found.boxes)),
        pred_classes=torch.from_numpy(found.classes),
    )
    with torch.no_grad():
        (expected,) = model.inference([{"image": image}], [given], do_postprocess=False)
    masks = torch.from_numpy(found.logits).sigmoid()
    torch.testing.assert_close(masks, expected.pred_masks[:, 0], atol=1e-5, rtol=0)


def test_boxes_are_in_pixels_of_the_original_slice(model):
    small = detect_with_mask_logits(model, make_image(), 64, 80)
    large = detect_with_mask_logits(model, make_image(), 128, 240)
    np.testing.assert_allclose(large.boxes, small.boxes * [3, 2, 3, 2], rtol=1e-6)
    np.testing.assert_array_equal(large.logits, small.logits)


def test_the_best_region_is_kept_whatever_its_score(model):
    everything = detect_with_mask_logits(model, make_image(), 64, 80, min_score=-1.0)
    best = detect_with_mask_logits(model, make_image(), 64, 80, min_score=1.0)
    assert best.boxes.shape == (1, 4)
    assert best.scores[0] == everything.scores.max() < 1.0
    np.testing.assert_allclose(best.logits[0], everything.logits[0], atol=1e-6)
    assert np.isfinite(combine_score_map(best.boxes, best.logits, 64, 80)).any()


def test_the_map_is_empty_if_no_box_has_an_area(model):
    found = detect_with_mask_logits(model, make_image(), 0, 0)  # a slice without pixels
    assert combine_score_map(found.boxes, found.logits, 0, 0).shape == (0, 0)
    empty = combine_score_map(np.zeros((0, 4)), np.zeros((0, 28, 28)), 6, 8)
    assert empty.shape == (6, 8)
    assert np.isnan(empty).all()


def test_unsuitable_models_and_arguments_are_refused():
    model = make_model("resnet18_t2")
    with pytest.raises(ValueError, match="max_regions is 0"):
        detect_with_mask_logits(model, make_image(), 64, 80, max_regions=0)
    with pytest.raises(ValueError, match="training mode"):
        detect_with_mask_logits(model.train(), make_image(), 64, 80)
    no_masks = make_model("resnet18_t2", "MODEL.MASK_ON", False)
    with pytest.raises(ValueError, match="no mask head"):
        detect_with_mask_logits(no_masks, make_image(), 64, 80)


# ---- pasting ------------------------------------------------------------------------------------
def test_pasting_by_hand():
    # two columns of logits over four pixels: bin centres at x = 2 and 4, constant beyond them
    pasted = paste_logits(np.array([1.0, 1, 5, 3]), np.array([[0.0, 2], [0, 2]]), 4, 6)
    assert pasted[1].tolist()[1:5] == pytest.approx([0, 0.5, 1.5, 2])
    np.testing.assert_array_equal(pasted[1], pasted[2])
    assert np.isfinite(pasted).sum() == 8


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((2, 1, 4, 4), 6),
        ((1.6, 1, 3.6, 2), 2),  # centres 2.5 and 3.5
        ((2.6, 1, 3.4, 2), 0),  # no centre
        ((3, 1, 3, 4), 0),
        ((-2, -3, 90, 90), 48),  # beyond the slice
    ],
)
def test_a_pixel_belongs_to_the_box_that_holds_its_centre(box, pixels):
    pasted = paste_logits(np.array(box, float), np.ones((28, 28)), 6, 8)
    assert np.isfinite(pasted).sum() == pixels
    assert np.nanmax(pasted, initial=1.0) == 1.0


BOXES = [(8.3, 4.1, 50.9, 37.9), (3.3, 3.1, 17.1, 61.7), (20.5, 20.5, 76.2, 60.0)]


@pytest.mark.parametrize("box", BOXES)
def test_above_0_is_the_mask_that_detectron2_pastes(box):
    """On the two values +c and -c the sigmoid is linear, so logits and probabilities agree."""
    logits = np.where(np.random.default_rng(1).random((28, 28)) < 0.5, -2.0, 2.0)
    # beyond the outermost bins Detectron2 pads with 0, and ct_lesion repeats the last value
    logits[[0, -1]] = logits[:, [0, -1]] = -2.0
    probabilities = torch.from_numpy(logits).sigmoid().float()[None]
    pasted = paste_masks_in_image(probabilities, torch.tensor([box]), (64, 80))[0].numpy()
    ours = combine_score_map(np.array([box]), logits[None], 64, 80)
    # Detectron2 counts a probability of exactly 0.5 as lesion; close to it, rounding decides
    sure = ~(np.abs(ours) < 1e-5)
    assert pasted.sum() > 100
    np.testing.assert_array_equal((ours > 0)[sure], pasted[sure])
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(region_masks(np.array([box]), logits[None], 64, 80)[0], ours > 0)


def test_smooth_masks_agree_too():
    y, x = np.mgrid[:28, :28] - 13.5
    logits = 5 - 0.6 * np.hypot(1.3 * x, y)
    box = np.array(BOXES[0])
    probabilities = torch.from_numpy(logits).sigmoid().float()[None]
    pasted = paste_masks_in_image(probabilities, torch.tensor(box)[None], (64, 80))[0].numpy()
    ours = paste_logits(box, logits, 64, 80) > 0
    assert (ours & pasted).sum() / (ours | pasted).sum() > 0.98


def test_overlaps_keep_the_maximum_in_any_order_of_regions():
    boxes = np.array([[0.0, 0, 4, 4], [2, 2, 6, 6]])
    logits = np.stack([np.full((28, 28), -3.0), np.full((28, 28), 1.5)])
    combined = combine_score_map(boxes, logits, 6, 8)
    assert combined[0, 0] == -3
    assert combined[3, 3] == combined[5, 5] == 1.5
    assert np.isnan(combined[5, 0])
    assert np.isnan(combined[:, 6:]).all()
    np.testing.assert_array_equal(combined, combine_score_map(boxes[::-1], logits[::-1], 6, 8))
