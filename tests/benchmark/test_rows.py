"""The rows, tiny: they run, both ways give the same, and say what they were measured on."""

import math

import pytest
import torch

from ct_lesion.benchmark.models import DETECTIONS_WANTED, config_of, random_model, shift_scores
from ct_lesion.benchmark.peer_rows import torchvision_model
from ct_lesion.benchmark.row import RowResult, Settings, choose_rows
from ct_lesion.benchmark.slices import chest_slices
from ct_lesion.modeling.fast.inference import fast_inference

TINY = Settings(rounds=1, size=64, slices=1)


def run(name: str) -> RowResult:
    (row,) = choose_rows([name])
    return row.run(TINY)


def test_slices_are_chest_ct_and_always_the_same() -> None:
    (item,) = chest_slices(1, 64)
    chest_slices.cache_clear()
    (again,) = chest_slices(1, 64)
    assert item["image"].shape == (3, 64, 64) and item["image"].dtype == torch.uint8
    assert torch.equal(item["image"], again["image"])
    assert len(item["image"].unique()) > 50


def test_classifying() -> None:
    result = run("classify-resnet18_t1")
    assert math.isfinite(result.value) and result.value > 0
    assert result.facts["weights"] == "random, seed 0"
    assert result.facts["largest difference of logits"] < 1e-4


def test_segmenting() -> None:
    facts = run("segment-resnet18_t1").facts
    assert facts["weights"] == "random, seed 0, scores shifted"
    assert facts["detections a slice"] > 0
    assert facts["slices with another number of detections"] == 0
    assert facts["largest difference of boxes, px"] < 1e-2


def test_floor_has_every_convolution_once() -> None:
    result = run("floor-resnet18_t1")
    # ResNet18 up to res4: the stem, 4 convolutions a stage, 2 shortcuts; FPN 2, RPN head 3
    assert result.facts["convolutions"] == 1 + 3 * 4 + 2 + 2 + 3
    assert result.value > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_row_says_that_there_is_none() -> None:
    assert run("classify-gpu-resnet18_t1").skipped == "there is no GPU here"


def test_torchvision_is_a_peer_of_the_same_size() -> None:
    cfg = config_of("segmentation/resnet18_t1.yaml")
    ours, peer = random_model(cfg), torchvision_model(cfg, 64)
    # it has boxes and a mask of the background too: 4 * 129 and 129 parameters
    extra = sum(p.numel() for p in peer.parameters()) - sum(p.numel() for p in ours.parameters())
    assert extra == 4 * 129 + 129
    assert run("torchvision-resnet18_t1").value > 0


@torch.no_grad()
def test_shifted_scores_give_detections_above_the_threshold() -> None:
    cfg = config_of("segmentation/resnet18_t1.yaml", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.75)
    model, inputs = random_model(cfg), chest_slices(1, 64)
    shift_scores(model, inputs, 0.75)
    (output,) = fast_inference(model, cfg)(list(inputs))
    assert 0 < len(output["instances"]) <= DETECTIONS_WANTED
    assert output["instances"].scores.min() > 0.75
