"""Inputs of the training cases, and the agreement of plain and fast training steps."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from ct_lesion.benchmark import training
from ct_lesion.benchmark.inputs import config_of
from ct_lesion.benchmark.measure import Settings
from ct_lesion.benchmark.training import lesion_slices, make_stepper, train_classifier
from ct_lesion.modeling.fast.training import use_fast_training

SMALL = ("MODEL.FPN.OUT_CHANNELS", 16, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 40)
SMALL += ("MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16)


def test_slices_come_with_their_lesions() -> None:
    for item in lesion_slices(3, 128):
        target = item["instances"]
        assert target.image_size == (128, 128) == item["image"].shape[1:]
        boxes = target.gt_masks.get_bounding_boxes().tensor
        assert torch.equal(boxes, target.gt_boxes.tensor)
    assert any(len(item["instances"]) for item in lesion_slices(3, 128))


def test_steps_learn_on_either_path() -> None:
    cfg = config_of("segmentation/resnet18_t2.yaml", *SMALL)
    torch.manual_seed(0)
    plain = build_model(cfg)
    fast = copy.deepcopy(plain)
    use_fast_training(fast, cfg)
    inputs = lesion_slices(2, 128)
    with EventStorage():
        losses = [
            [step() for _ in range(3)]
            for step in (make_stepper(plain, cfg, inputs), make_stepper(fast, cfg, inputs))
        ]
    # rounding decides between similar proposals, so the losses do not agree more closely
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_both_trainings_of_the_classifier_are_extrapolated(monkeypatch) -> None:
    monkeypatch.setattr(training, "CACHED_STEPS", 3)
    monkeypatch.setattr(training, "AFFINE_STEPS", 2)
    measured = train_classifier(Settings(rounds=1, size=64, slices=2))
    assert measured.facts["affine steps timed"] == 2
    parts = measured.facts["last round"]
    total = parts["seconds of the pass"] + parts["seconds of S"]
    assert measured.comparison.second.median == total
    assert measured.value == measured.comparison.first.median / total
