"""A batch depends on seed and iteration only, not on which process reads it or when."""

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader
from detectron2.utils import comm
from PIL import Image

from ct_lesion import load_config
from ct_lesion.config_values import CHOICES
from ct_lesion.data.loading.seeding import derived_seed, seeded
from ct_lesion.data.loading.training_stream import build_training_stream
from ct_lesion.errors import ConfigError, DatasetError

M = 14


@pytest.fixture
def cfg() -> CfgNode:
    keys = ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4, "SEED", 3]
    return load_config(
        "segmentation/resnet18_t2.yaml", [*keys, "DATALOADER.ASPECT_RATIO_GROUPING", False]
    )


@pytest.fixture
def records(tmp_path: Path) -> list[dict]:
    """Pictures whose grey value is their number; every third is wider than high."""
    made = []
    for i in range(M):
        width, height = (8, 5) if i % 3 == 0 else (5, 8)
        Image.new("RGB", (width, height), (i, i, i)).save(tmp_path / f"{i}.png")
        made.append(
            {"file_name": str(tmp_path / f"{i}.png"), "width": width, "height": height, "number": i}
        )
    return made


def mapper(record: dict) -> dict:
    """Reads a picture and draws from all three generators."""
    with Image.open(record["file_name"]) as image:
        grey = np.asarray(image)[0, 0, 0]
    drawn = (random.random(), np.random.rand(), torch.rand(1).item())
    return {"file_name": record["file_name"], "grey": int(grey), "drawn": drawn} | {
        key: record[key] for key in ("width", "height")
    }


def take(stream, count: int, start: int = 0) -> list[list[dict]]:
    stream.start = start
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize("grouping", [False, True])
@pytest.mark.parametrize("sampler", ["TrainingSampler", "RandomSubsetTrainingSampler"])
def test_the_stream_starts_at_any_iteration_with_any_number_of_workers(
    cfg, records, grouping, sampler
) -> None:
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = grouping
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.9
    whole = take(build_training_stream(cfg, records, mapper, 3), 12)
    np.random.seed(99)
    cfg.DATALOADER.NUM_WORKERS = 2
    assert take(build_training_stream(cfg, records, mapper, 3), 5, start=7) == whole[7:]
    assert take(build_training_stream(cfg, records, mapper, 4), 5, start=7) != whole[7:]
    draws = [item["drawn"] for batch in whole for item in batch]
    assert len(set(draws)) == len(draws) == 48


@pytest.mark.parametrize("grouping", [False, True])
def test_the_order_equals_detectron2s_with_the_same_sampler(cfg, records, grouping) -> None:
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = grouping
    stream = build_training_stream(cfg, records, mapper, 3)
    theirs = build_detection_train_loader(
        cfg, dataset=records, mapper=dict, sampler=stream._batches._sampler
    )
    expected = [[x["number"] for x in batch] for batch in itertools.islice(theirs, 9)]
    assert [[x["grey"] for x in batch] for batch in take(stream, 9)] == expected


def test_the_global_random_state_is_not_changed(cfg, records) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = (random.random(), np.random.rand(), torch.rand(1).item())
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    take(build_training_stream(cfg, records, mapper, 3), 2)
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == expected


def test_two_processes_divide_the_batches_of_one_process(cfg, records, monkeypatch) -> None:
    whole = take(build_training_stream(cfg, records, mapper, 3), 4)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", lambda value: [value, value])
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        shares.append(take(build_training_stream(cfg, records, mapper, 3), 4))
    for batch, first, second in zip(whole, *shares, strict=True):
        assert [len(first), len(second)] == [2, 2]
        assert sorted(x["drawn"] for x in first + second) == sorted(x["drawn"] for x in batch)


# ---- slices that cannot be read -----------------------------------------------------------------
@pytest.fixture
def damaged(records) -> list[dict]:
    path = Path(records[4]["file_name"])
    path.write_bytes(path.read_bytes()[:40])
    return records


@pytest.mark.parametrize("workers", [0, 2])
def test_stop_reports_file_reason_and_key(cfg, damaged, workers) -> None:
    cfg.DATALOADER.NUM_WORKERS = workers
    with pytest.raises(DatasetError) as error:
        take(build_training_stream(cfg, damaged, mapper, 3), 12)
    message = str(error.value)
    assert message.startswith(f"{damaged[4]['file_name']} is not a picture")
    assert "INPUT.ON_CORRUPT skip" in message
    assert "\n" not in message


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_replaces_the_slice_and_logs_it_once(cfg, damaged, caplog, workers) -> None:
    cfg.INPUT.ON_CORRUPT = "skip"
    cfg.DATALOADER.NUM_WORKERS = workers
    stream = build_training_stream(cfg, damaged, mapper, 3)
    batches = take(stream, 12)
    assert all(len(batch) == 4 for batch in batches)
    assert 4 not in {x["grey"] for batch in batches for x in batch}
    assert list(stream.skipped) == [damaged[4]["file_name"]]
    assert sum("Skipped: " in r.getMessage() for r in caplog.records) == 1
    assert take(build_training_stream(cfg, damaged, mapper, 3), 5, start=7) == batches[7:]


def test_skip_stops_if_no_image_can_be_read(cfg, records) -> None:
    cfg.INPUT.ON_CORRUPT = "skip"
    for record in records:
        Path(record["file_name"]).unlink()
    with pytest.raises(DatasetError, match="10 slices in a row cannot be read"):
        take(build_training_stream(cfg, records, mapper, 3), 1)


def test_a_bug_is_not_reported_as_a_damaged_image(cfg, records) -> None:
    cfg.INPUT.ON_CORRUPT = "skip"

    def broken(record: dict) -> dict:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        take(build_training_stream(cfg, records, broken, 3), 1)


def test_an_unknown_value_of_on_corrupt_is_refused(cfg, records) -> None:
    cfg.INPUT.ON_CORRUPT = "ignore"
    with pytest.raises(ConfigError, match=r"INPUT\.ON_CORRUPT is 'ignore', expected one of stop"):
        build_training_stream(cfg, records, mapper, 3)


@pytest.mark.parametrize("sampler", CHOICES["DATALOADER.SAMPLER_TRAIN"])
def test_the_sampler_is_detectron2s(cfg, records, sampler) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    cfg.DATALOADER.RANDOM_SUBSET_RATIO = 0.9
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    for record in records:
        record["annotations"] = [{"category_id": int(record["number"] > 11)}]
    with seeded(derived_seed(3, "order")):
        theirs = build_detection_train_loader(cfg, dataset=records, mapper=dict)
    expected = [[x["number"] for x in batch] for batch in itertools.islice(theirs, 9)]
    stream = build_training_stream(cfg, records, mapper, 3)
    assert [[x["grey"] for x in batch] for batch in take(stream, 9)] == expected


def test_an_unknown_sampler_is_refused(cfg, records) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = "Sampler"
    with pytest.raises(ConfigError, match=r"SAMPLER_TRAIN is 'Sampler', expected one of Training"):
        build_training_stream(cfg, records, mapper, 3)


def test_repeat_factors_of_a_classification_dataset(cfg, records) -> None:
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    with pytest.raises(DatasetError, match=r"neither annotations nor a label, .* TrainingSampler"):
        build_training_stream(cfg, records, mapper, 3)
    # two of 14 slices have class 1: they are repeated sqrt(0.5 / (2 / 14)) = 1.87 times
    labelled = [{**record, "label": int(i < 2)} for i, record in enumerate(records)]
    batches = take(build_training_stream(cfg, labelled, mapper, 3), 40)
    greys = [item["grey"] for batch in batches for item in batch]
    assert sum(grey < 2 for grey in greys) / len(greys) == pytest.approx(3.74 / 15.74, abs=0.04)
