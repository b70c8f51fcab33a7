"""Small runs of the inference cases: both ways agree."""

import math

import pytest
import torch

from ct_lesion.benchmark.cases import choose_cases
from ct_lesion.benchmark.inference import torchvision_model
from ct_lesion.benchmark.inputs import (
    DETECTIONS_WANTED,
    chest_slices,
    config_of,
    random_model,
    segmenter,
)
from ct_lesion.benchmark.measure import Result, Settings
from ct_lesion.modeling.fast.inference import fast_inference

TINY = Settings(rounds=1, size=64, slices=1)


def run(name: str) -> Result:
    (case,) = choose_cases([name])
    return case.run(TINY)


def test_slices_are_reproducible_chest_ct() -> None:
    (item,) = chest_slices(1, 64)
    chest_slices.cache_clear()
    (again,) = chest_slices(1, 64)
    assert item["image"].shape == (3, 64, 64) and item["image"].dtype == torch.uint8
    assert torch.equal(item["image"], again["image"])
    assert len(item["image"].unique()) > 50


def test_classifying() -> None:
    result = run("classify-resnet18_t1").measured
    assert math.isfinite(result.value) and result.value > 0
    assert result.facts["weights"] == "random, seed 0"
    assert result.facts["largest difference of logits"] < 1e-4


def test_segmenting() -> None:
    facts = run("segment-resnet18_t1").measured.facts
    assert facts["weights"] == "random, seed 0, scores shifted"
    assert facts["detections per slice"] > 0
    assert facts["slices with another number of detections"] == 0
    assert facts["largest difference of boxes, px"] < 1e-2


def test_segmenting_in_onnx_runtime() -> None:
    result = run("onnx-resnet18_t1").measured
    assert result.value > 0
    assert result.facts["detections per slice"] > 0
    assert result.facts["slices with another number of detections"] == 0
    assert result.facts["largest difference of boxes, px"] < 1e-2


def test_the_floor_has_each_convolution_once() -> None:
    result = run("floor-resnet18_t1").measured
    # ResNet18 up to res4: the stem, 4 convolutions a stage, 2 shortcuts; FPN 2, RPN head 3
    assert result.facts["convolutions"] == 1 + 3 * 4 + 2 + 2 + 3
    assert result.value > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_gpu_case_is_skipped_without_a_gpu() -> None:
    assert run("segment-gpu-batch16-half").skipped == "there is no GPU here"


def test_torchvisions_model_has_the_same_architecture() -> None:
    cfg = config_of("segmentation/resnet18_t1.yaml")
    ours, peer = random_model(cfg), torchvision_model(cfg, 64)
    # torchvision also predicts boxes and a mask for the background: 4 * 129 and 129 parameters
    extra = sum(p.numel() for p in peer.parameters()) - sum(p.numel() for p in ours.parameters())
    assert extra == 4 * 129 + 129
    assert run("torchvision-resnet18_t1").measured.value > 0


@torch.no_grad()
def test_shifted_scores_give_detections_above_the_threshold() -> None:
    cfg, model, _ = segmenter(TINY)
    (output,) = fast_inference(model, cfg)(list(chest_slices(1, 64)))
    assert 0 < len(output["instances"]) <= DETECTIONS_WANTED
    assert output["instances"].scores.min() > 0.75
