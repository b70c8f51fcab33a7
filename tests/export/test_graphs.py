"""The exported graphs in ONNX Runtime compute what the networks compute, for any slice.

Slices differ in size and in their number of regions: none, fewer than N, more than N.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn
from toy_checkpoints import TOY_CLASSIFIER
from toy_runs import TOY_SEGMENTATION

from ct_lesion import load_config
from ct_lesion.benchmark.inputs import chest_slices, random_model
from ct_lesion.errors import UserError
from ct_lesion.export.graphs import build_graph
from ct_lesion.export.onnx_check import open_session
from ct_lesion.export.onnx_file import trace

Run = Callable[[np.ndarray], list[np.ndarray]]
N = 2
RNG = np.random.default_rng(0)
SLICES = {
    "chest 64 x 64": chest_slices(1, 64)[0]["image"][0].numpy(),
    "noise 70 x 50": RNG.integers(0, 256, (70, 50), dtype=np.uint8),
    "white 48 x 80": np.full((48, 80), 255, np.uint8),
    "noise on black 80 x 80": np.pad(RNG.integers(0, 256, (20, 20), dtype=np.uint8), 30),
    "empty 33 x 97": np.zeros((33, 97), np.uint8),
}


def toy_model(name: str, values: dict, **overrides: object) -> nn.Module:
    """A small model; its weights are random, but large enough that regions differ."""
    keys = {**values, **{k.replace("__", "."): v for k, v in overrides.items()}}
    return random_model(load_config(name, [item for pair in keys.items() for item in pair]))


def in_onnx_runtime(model: nn.Module) -> Run:
    session = open_session(trace(build_graph(model)), threads=1)
    return lambda grey: session.run(None, {"slice": grey})


@pytest.fixture(scope="module")
def segmenter() -> tuple[nn.Module, Run]:
    """A segmenter of two lesion classes, as a network and in ONNX Runtime."""
    model = toy_model(
        "segmentation/resnet18_t2.yaml",
        TOY_SEGMENTATION,
        MODEL__ROI_HEADS__NUM_CLASSES=2,
        MODEL__ROI_HEADS__SCORE_THRESH_TEST=0.75,
    )
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.bias[0] = 5.0  # so that both classes are found
    return model, in_onnx_runtime(model)


@pytest.fixture(scope="module")
def classifier() -> tuple[nn.Module, Run]:
    """A classifier with few regions per slice, padded at random; see :func:`segmenter`."""
    model = toy_model(
        "classification/resnet18_t2.yaml",
        TOY_CLASSIFIER,
        MODEL__ROI_BATCH__SIZE=N,
        MODEL__ROI_BATCH__SCORE_THRESH=0.75,
        MODEL__ROI_BATCH__PADDING="random",
        MODEL__ROI_BATCH__CONTENT="boxes",
    )
    return model, in_onnx_runtime(model)


def as_input(grey: np.ndarray) -> list[dict]:
    return [{"image": torch.from_numpy(grey).expand(3, -1, -1)}]


@torch.no_grad()
def test_segmenter(segmenter: tuple[nn.Module, Run]) -> None:
    model, run = segmenter
    counts, classes = [], set()
    for name, grey in SLICES.items():
        boxes, scores, kinds, logits = run(grey)
        (wanted,) = model.inference(as_input(grey), do_postprocess=False)
        wanted = wanted[wanted.pred_boxes.nonempty()]
        np.testing.assert_array_equal(kinds, wanted.pred_classes, name)
        np.testing.assert_allclose(boxes, wanted.pred_boxes.tensor, atol=1e-2, err_msg=name)
        np.testing.assert_allclose(scores, wanted.scores, atol=1e-5, err_msg=name)
        masks = wanted.pred_masks[:, 0].logit()
        np.testing.assert_allclose(logits, masks, rtol=0, atol=1e-3, err_msg=name)
        assert (boxes.dtype, kinds.dtype, logits.shape[1:]) == (np.float32, np.int64, (28, 28))
        counts.append(len(scores))
        classes |= {*kinds.tolist()}
    assert min(counts) == 0 and max(counts) > 3 and classes == {0, 1}


@torch.no_grad()
def test_classifier(classifier: tuple[nn.Module, Run]) -> None:
    model, run = classifier
    counts = []
    for name, grey in SLICES.items():
        logits, rows = run(grey)
        (wanted,) = model(as_input(grey))
        np.testing.assert_allclose(rows, wanted["roi_batch"], atol=1e-5, err_msg=name)
        np.testing.assert_allclose(logits, wanted["logits"], atol=1e-3, err_msg=name)
        counts.append(int((~wanted["instances"].is_copy).sum()))
    assert {*counts} == {0, 1, N}
    _, outputs = build_graph(model).detect(torch.from_numpy(SLICES["chest 64 x 64"]))
    model.roi_batch.size = 100
    assert len(model.roi_batch.best(outputs)[0]) > N, "the batch holds only the best"


def test_other_architectures_are_refused() -> None:
    keys = ["MODEL.META_ARCHITECTURE", "RetinaNet", "MODEL.DEVICE", "cpu"]
    keys += ["MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"]
    with pytest.raises(UserError, match="A RetinaNet with no RoI heads cannot be exported"):
        build_graph(build_model(load_config("segmentation/resnet50.yaml", keys)))
