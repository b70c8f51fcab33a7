"""Training S on stored RoI batches gives the same losses as training it on the detector's output.

Shapes: M slices, N RoIs per slice.
"""

import random
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from ct_lesion import load_config
from ct_lesion.data.loading.roi_batches import Fingerprint, RoIBatches, StaleCacheError
from ct_lesion.data.loading.training_stream import build_training_stream
from ct_lesion.engine.fingerprint import hash_config, hash_dataset, hash_detector
from ct_lesion.engine.roi_cache import (
    build_cached_train_loader,
    can_cache,
    extract_roi_batches,
    load_or_extract,
)

M, N = 10, 12
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BATCH.SIZE", N, "MODEL.CLASSIFIER.WIDTH", 32]
SMALL += ["MODEL.RPN.PRE_NMS_TOPK_TEST", 100, "MODEL.RPN.POST_NMS_TOPK_TEST", 40]
SMALL += ["MODEL.CLASSIFIER.TRAIN_BATCHNORM", "none", "SEED", 3]
SMALL += ["SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0]


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    overrides = [*SMALL, "OUTPUT_DIR", str(tmp_path / "output")]
    return load_config("classification/resnet18_t2.yaml", overrides)


@pytest.fixture
def records(tmp_path: Path) -> list[dict]:
    """Slices of 64 x 64 noise, which the mapper halves in size."""
    files = []
    for i in range(M):
        image = np.random.default_rng(i).integers(0, 256, (3, 64, 64), dtype=np.uint8)
        np.save(tmp_path / f"{i}.npy", image)
        files.append(str(tmp_path / f"{i}.npy"))
    return [
        {"file_name": file, "image_id": i, "label": i % 3, "height": 64, "width": 64}
        | {"patient": f"p{i // 2}", "scan": "s"}
        for i, file in enumerate(files)
    ]


def mapper(record: dict) -> dict:
    """Read a slice, and draw random numbers like an augmentation."""
    np.random.rand(), random.random(), torch.rand(1)
    image = torch.from_numpy(np.load(record["file_name"]))[:, ::2, ::2]
    return record | {"image": image}


def make_model(cfg: CfgNode) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(30)
        model.roi_heads.box_predictor.bbox_pred.weight.mul_(100)
    return model


def train(model: torch.nn.Module, loader, steps: int = 8) -> list[float]:
    """Losses of a few steps."""
    model.train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=1e-3)
    losses = []
    for inputs in islice(loader, steps):
        loss = model(inputs)["loss_cls"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.fixture
def uncached(cfg: CfgNode, records: list[dict]) -> Callable:
    def build():
        return build_training_stream(cfg, records, mapper, cfg.SEED)

    return build


@pytest.fixture
def cache(cfg: CfgNode, records: list[dict]) -> RoIBatches:
    loader = build_detection_test_loader(records, mapper=mapper, batch_size=3)
    return extract_roi_batches(cfg, make_model(cfg), loader)


# ---- same results -------------------------------------------------------------------------------
def test_losses_are_those_of_the_uncached_path(cfg, records, uncached) -> None:
    model = make_model(cfg)
    seed_all_rng(cfg.SEED)
    expected = train(model, uncached())

    model = make_model(cfg)
    seed_all_rng(cfg.SEED)
    cache = load_or_extract(cfg, model, records, mapper)  # does not change the random state
    actual = train(model, build_cached_train_loader(cfg, cache, cfg.SEED))
    assert actual == pytest.approx(expected, abs=1e-5)
    assert len(set(actual)) == len(actual)


@pytest.mark.parametrize("grouping", [False, True])
def test_order_is_that_of_the_uncached_loader(cfg, cache, uncached, grouping: bool) -> None:
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = grouping
    loader = uncached()
    expected = [[x["file_name"] for x in batch] for batch in islice(loader, 7)]
    actual = build_cached_train_loader(cfg, cache, cfg.SEED)
    assert [[x["file_name"] for x in batch] for batch in islice(actual, 7)] == expected


def test_rows_belong_to_their_records(cfg, cache, records) -> None:
    assert len(cache) == M
    assert cache.roi_batch.shape == (M, N, 5)
    assert cache.boxes.shape == (M, N, 4)
    assert cache.classes.shape == cache.is_copy.shape == (M, N)
    assert cache.label.tolist() == [i % 3 for i in range(M)]
    assert cache.patient.tolist() == [f"p{i // 2}" for i in range(M)]
    (output,) = make_model(cfg).eval()([mapper(records[4])])
    np.testing.assert_allclose(cache.roi_batch[4], output["roi_batch"], atol=1e-5)
    regions = output["instances"]
    assert regions.image_size == (64, 64) == (cache.height[4], cache.width[4])
    np.testing.assert_allclose(cache.boxes[4], regions.pred_boxes.tensor, atol=1e-3)
    assert cache.is_copy[4].tolist() == regions.is_copy.tolist()


def test_cached_inputs_give_the_stored_roi_batches(cfg, cache, records) -> None:
    inputs = cache.inputs()
    assert [x["file_name"] for x in inputs] == [r["file_name"] for r in records]
    (output,) = make_model(cfg).eval()([inputs[9]])
    np.testing.assert_allclose(output["roi_batch"], cache.roi_batch[9])
    assert {k: v for k, v in inputs[3].items() if k != "roi_batch"} == {
        **records[3],
        "image_id": "3",
    }


def test_unlabelled_slices_have_no_label(cfg, records) -> None:
    del records[1]["label"]
    loader = build_detection_test_loader(records[:2], mapper=mapper)
    cache = extract_roi_batches(cfg, make_model(cfg), loader)
    assert cache.label.tolist() == [0, -1]
    assert ["label" in x for x in cache.inputs()] == [True, False]


def test_extraction_leaves_mode_and_random_state(cfg, records) -> None:
    model = make_model(cfg).train()
    seed_all_rng(5)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    seed_all_rng(5)
    extract_roi_batches(cfg, model, build_detection_test_loader(records[:2], mapper=mapper))
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected
    assert model.training


def test_nothing_to_extract(cfg) -> None:
    with pytest.raises(ValueError, match="no readable slices"):
        extract_roi_batches(cfg, make_model(cfg), [])


# ---- the file -----------------------------------------------------------------------------------
def test_file_round_trip(cache: RoIBatches, tmp_path: Path) -> None:
    cache = replace(cache, fingerprint=Fingerprint("w", "c", "s"))
    path = tmp_path / "new" / "roi.npz"
    cache.save(path)
    loaded = RoIBatches.load(path, Fingerprint("w", "c", "s"))
    for field in fields(cache):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(cache, field.name))
    assert loaded.config.startswith("CUDNN_BENCHMARK")
    assert [p.name for p in path.parent.iterdir()] == ["roi.npz"]


def test_stale_and_damaged_files_are_refused(cache: RoIBatches, tmp_path: Path) -> None:
    path = tmp_path / "roi.npz"
    replace(cache, fingerprint=Fingerprint("w", "c", "s")).save(path)
    with pytest.raises(StaleCacheError, match="other weights and other slices"):
        RoIBatches.load(path, Fingerprint("x", "c", "x"))
    with pytest.raises(FileNotFoundError):
        RoIBatches.load(tmp_path / "none.npz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StaleCacheError, match="not a complete file"):
        RoIBatches.load(path)
    path.write_bytes(b"")
    with pytest.raises(StaleCacheError, match="not a complete file"):
        RoIBatches.load(path)


def test_file_is_used_until_something_changes(cfg, records) -> None:
    model = make_model(cfg)
    calls = []

    def counting(record: dict) -> dict:
        calls.append(record["file_name"])
        return mapper(record)

    first = load_or_extract(cfg, model, records, counting)
    assert len(calls) == M
    assert (Path(cfg.OUTPUT_DIR) / "roi_batches.npz").is_file()
    model.classifier.fc1.weight.data.add_(1)  # S does not influence RoI batches
    second = load_or_extract(cfg, model, records, counting)
    assert len(calls) == M
    np.testing.assert_array_equal(first.roi_batch, second.roi_batch)

    model.backbone.bottom_up.stem.conv1.norm.running_mean.add_(0.1)
    third = load_or_extract(cfg, model, records, counting)
    assert len(calls) == 2 * M
    assert not np.array_equal(first.roi_batch, third.roi_batch)
    load_or_extract(cfg, model, records[:5], counting)
    assert len(calls) == 2 * M + 5


# ---- fingerprint ---------------------------------------------------------------------------------
def test_detector_hash(cfg) -> None:
    model = make_model(cfg)
    before = hash_detector(model)
    assert before == hash_detector(make_model(cfg))
    assert before == hash_detector(torch.nn.DataParallel(model))
    model.classifier.fc2.bias.data.add_(1)
    assert hash_detector(model) == before
    model.roi_heads.box_predictor.cls_score.bias.data[0] += 1e-6
    assert hash_detector(model) != before


@pytest.mark.parametrize(
    ("key", "value", "matters"),
    [
        ("MODEL.ROI_BATCH.NMS_THRESH", 0.5, True),
        ("MODEL.PIXEL_MEAN", [0.0, 0.0, 0.0], True),
        ("INPUT.MIN_SIZE_TRAIN", (256,), True),
        ("MODEL.WEIGHTS", "elsewhere.pth", False),
        ("MODEL.CLASSIFIER.WIDTH", 8, False),
        ("SEED", 9, False),
        ("SOLVER.BASE_LR", 1.0, False),
    ],
)
def test_config_hash(cfg, key: str, value: object, matters: bool) -> None:
    other = cfg.clone()
    other.merge_from_list([key, value])
    assert (hash_config(cfg) != hash_config(other)) is matters


def test_seed_matters_to_random_padding(cfg) -> None:
    cfg.MODEL.ROI_BATCH.PADDING = "random"
    other = cfg.clone()
    other.SEED = 9
    assert hash_config(cfg) != hash_config(other)


def test_dataset_hash(records) -> None:
    before = hash_dataset(records)
    assert hash_dataset(records[::-1]) != before
    assert hash_dataset([*records[:-1], records[-1] | {"label": 2}]) != before
    Path(records[0]["file_name"]).write_bytes(b"another slice")
    assert hash_dataset(records) != before


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("SEED", 1, True),
        ("MODEL.CLASSIFIER.TRAIN_BATCHNORM", "affine", False),
        ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", False),
        ("INPUT.RANDOM_FLIP", "horizontal", False),
        ("INPUT.MIN_SIZE_TRAIN", (480, 512), False),
    ],
)
def test_when_the_rois_of_a_slice_are_constant(cfg, key, value, expected: bool) -> None:
    cfg.merge_from_list([key, value])
    assert can_cache(cfg) is expected
