"""Converted published checkpoints reproduce the outputs of the published implementation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes
from PIL import Image

from ct_lesion import load_config
from ct_lesion.checkpoint import LesionCheckpointer, convert_released, read_released, write_weights
from ct_lesion.modeling.fast.inference import fast_inference

PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity"
IMAGES = range(4)
needs_fixtures = pytest.mark.skipif(
    not (PARITY / "expected.npz").is_file(), reason=f"the published outputs are not in {PARITY}"
)


def expected(index: int) -> dict[str, torch.Tensor]:
    with np.load(PARITY / "expected.npz") as arrays:
        prefix = f"{index}."
        return {
            name.removeprefix(prefix): torch.from_numpy(arrays[name])
            for name in arrays.files
            if name.startswith(prefix)
        }


def image(index: int) -> list[dict]:
    grey = np.asarray(Image.open(PARITY / f"image_{index}.png"))
    tensor = torch.from_numpy(grey.copy()).expand(3, -1, -1)
    return [{"image": tensor, "height": grey.shape[0], "width": grey.shape[1]}]


def parity_model(kind: str, folder: Path) -> torch.nn.Module:
    converted = convert_released(read_released(PARITY / f"{kind}.pth"))
    assert converted.config_name == f"{kind}/resnet18_t2.yaml"
    assert not converted.overrides
    path = folder / f"{kind}.safetensors"
    write_weights(path, converted.model, {})
    cfg = converted.cfg.clone()
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg).eval()
    checkpointer = LesionCheckpointer(model, cfg=cfg)
    checkpointer.load(str(path))
    assert not checkpointer.last_report.fresh
    return model


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return parity_model("segmentation", tmp_path_factory.mktemp("parity"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return parity_model("classification", tmp_path_factory.mktemp("parity"))


def close(actual: torch.Tensor, wanted: torch.Tensor, tolerance: float, rtol: float = 0) -> None:
    torch.testing.assert_close(actual, wanted, rtol=rtol, atol=tolerance)


@needs_fixtures
@pytest.mark.parametrize("index", IMAGES)
@torch.no_grad()
def test_segmentation(segmenter: torch.nn.Module, index: int) -> None:
    wanted = expected(index)
    images = segmenter.preprocess_image(image(index))
    features = segmenter.backbone(images.tensor)
    close(features["p3"][0].mean((1, 2)), wanted["feature_channel_mean"], 1e-5)
    close(features["p3"][0, :4], wanted["feature_first4"], 1e-5, rtol=1e-5)
    proposals, _ = segmenter.proposal_generator(images, features)
    close(proposals[0].proposal_boxes.tensor, wanted["proposals"], 1e-3)
    (found,), _ = segmenter.roi_heads(images, features, proposals)
    close(found.scores, wanted["det_scores"], 1e-5)
    close(found.pred_boxes.tensor, wanted["det_boxes"], 1e-2)
    heads = segmenter.roi_heads
    regions = heads.mask_pooler([features["p3"]], [Boxes(wanted["det_boxes"])])
    close(heads.mask_head.layers(regions)[:, 0], wanted["det_mask_logits"], 1e-4)


@needs_fixtures
@pytest.mark.parametrize("index", IMAGES)
@torch.no_grad()
def test_classification(classifier: torch.nn.Module, index: int) -> None:
    wanted = expected(index)
    (output,) = classifier(image(index))
    close(output["roi_batch"], wanted["roi_batch"], 1e-4)
    close(output["instances"].pred_boxes.tensor, wanted["roi_boxes"], 1e-2)
    close(output["logits"], wanted["logits"], 1e-4)
    assert output["pred_class"] == int(wanted["logits"].argmax())


@needs_fixtures
@torch.no_grad()
def test_fast_path(segmenter: torch.nn.Module, classifier: torch.nn.Module) -> None:
    fast_segmenter = fast_inference(segmenter, load_config("segmentation/resnet18_t2.yaml"))
    fast_classifier = fast_inference(classifier, load_config("classification/resnet18_t2.yaml"))
    for index in IMAGES:
        wanted = expected(index)
        (found,) = fast_segmenter(image(index))
        assert len(found["instances"]) == len(wanted["det_boxes"])
        close(found["instances"].pred_boxes.tensor, wanted["det_boxes"], 1e-2)
        close(found["instances"].scores, wanted["det_scores"], 1e-4)
        (output,) = fast_classifier(image(index))
        close(output["roi_batch"], wanted["roi_batch"], 1e-4)
        close(output["logits"], wanted["logits"], 1e-4)
