"""Unreadable slices stop training, caching and evaluation, unless a key skips them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog

from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import DatasetError

QUIET = {"TEST.EVAL_PERIOD": 0}


@pytest.fixture
def damage(datasets: Path, tmp_path: Path, monkeypatch):
    """Truncates a slice of a dataset in a copy of the toy data, and returns its path."""
    root = shutil.copytree(datasets, tmp_path / "datasets")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))

    def cut(dataset: str) -> str:
        records = DatasetCatalog.get(dataset)
        path = Path(next(r["file_name"] for r in records if r.get("annotations", True)))
        path.write_bytes(path.read_bytes()[:200])
        return str(path)

    return cut


def train(cfg) -> LesionTrainer:
    torch.manual_seed(0)
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    return trainer


def skipped(run: Path) -> dict:
    return json.loads((run / "training.json").read_text())["skipped_slices"]


@pytest.mark.parametrize("workers", [0, 2])
def test_training_stops_and_names_it(toy_cfg, damage, caplog, workers) -> None:
    path = damage("cncb_lesion_train")
    with pytest.raises(DatasetError) as error:
        train(toy_cfg(**QUIET, **{"DATALOADER.NUM_WORKERS": workers}))
    assert str(error.value).startswith(f"{path} cannot be read")
    assert "\n" not in str(error.value)
    assert f"Training stopped: {path}" in caplog.text
    assert not any(r.exc_info for r in caplog.records)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_skips_it_and_lists_it(toy_cfg, damage, tmp_path, caplog, workers) -> None:
    path = damage("cncb_lesion_train")
    train(toy_cfg(**QUIET, **{"DATALOADER.NUM_WORKERS": workers, "INPUT.ON_CORRUPT": "skip"}))
    found = skipped(tmp_path / "run")
    assert list(found) == [path]
    assert "cannot be read" in found[path]
    assert f"Skipped: {path}" in caplog.text
    assert "Skipped 1 slice(s) that cannot be read" in caplog.text


def test_caching_of_roi_batches(toy_classifier_cfg, damage, tmp_path, caplog) -> None:
    caplog.set_level("INFO")
    path = damage("cncb_lesion_train")
    frozen = {**QUIET, "MODEL.CLASSIFIER.TRAIN_BATCHNORM": "none"}
    with pytest.raises(DatasetError, match=r"cannot be read .*INPUT\.ON_CORRUPT skip"):
        train(toy_classifier_cfg(**frozen))
    train(toy_classifier_cfg(**frozen, **{"INPUT.ON_CORRUPT": "skip"}))
    assert list(skipped(tmp_path / "run")) == [path]
    assert "Wrote RoI batches of 5 slices to" in caplog.text
    train(toy_classifier_cfg(**frozen, **{"INPUT.ON_CORRUPT": "skip"}))
    assert "Read RoI batches of 5 slices from" in caplog.text
    assert list(skipped(tmp_path / "run")) == [path], "also if the RoI batches are read from a file"


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_always_stops(toy_cfg, damage, tmp_path, workers) -> None:
    path = damage("cncb_lesion_test")
    cfg = toy_cfg(**{"INPUT.ON_CORRUPT": "skip", "DATALOADER.NUM_WORKERS": workers})
    with pytest.raises(DatasetError) as error:
        LesionTrainer.test(cfg, LesionTrainer.build_model(cfg))
    assert str(error.value).startswith(f"{path} cannot be read")
    assert "would not be comparable" in str(error.value)
    assert not (tmp_path / "run/inference/cncb_lesion_test/evaluation.json").exists()
