import json
from pathlib import Path

import pytest
import torch
from detectron2.data import MetadataCatalog

from ct_lesion.checkpoint import read_checkpoint
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.trainer import LesionTrainer


def train(cfg, resume: bool = False) -> None:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def test_the_record_of_an_evaluation_names_the_weights_by_their_hash(toy_cfg, run):
    train(toy_cfg(**{"TEST.EVAL_PERIOD": 0}))
    folder = run / "inference/cncb_lesion_test"
    record = read(folder / "evaluation.json")
    final = read_checkpoint(run / "model_final.safetensors").model
    assert record["weights_sha256"] == hash_weights(final)
    assert record["slices"] == 6
    assert record["seed"] == 1
    assert record["seconds"] > 0
    assert set(record["dataset_sha256"]) == {"cncb_lesion_train", "cncb_lesion_test"}


def test_the_ground_truth_is_kept_with_its_patients(toy_cfg, run):
    cfg = toy_cfg()
    MetadataCatalog.get("cncb_lesion_test").__dict__.pop("json_file", None)  # as in a new process
    LesionTrainer.test(cfg, LesionTrainer.build_model(cfg))
    truth = read(run / "inference/cncb_lesion_test/ground_truth.json")
    assert [image["patient"] for image in truth["images"]] == ["2"] * 3 + ["3"] * 3


def test_a_resumed_run_adds_to_the_time_spent_before(toy_cfg, run):
    train(toy_cfg(**{"SOLVER.MAX_ITER": 2, "TEST.EVAL_PERIOD": 0}))
    first = read(run / "training.json")
    assert first["iterations"] == 2
    checkpoint = torch.load(run / "model_final.pth", weights_only=True)
    assert 0 < checkpoint["trainer"]["hooks"]["TrainingRecord"]["seconds"] <= first["seconds"]
    checkpoint["trainer"]["hooks"]["TrainingRecord"]["seconds"] = 1000.0
    torch.save(checkpoint, run / "model_final.pth")
    train(toy_cfg(**{"TEST.EVAL_PERIOD": 0}), resume=True)
    second = read(run / "training.json")
    assert second["iterations"] == 4
    assert second["seconds"] > 1000
    assert second["trained_on"] == ["cncb_lesion_train"]
    assert second["patients"]["train"] == {"cncb_lesion_train": 2}
    assert second["patients"]["shared"] == []
    assert "MAX_ITER: 4" in second["config"]


def test_a_hash_depends_on_values_and_names_but_not_on_order():
    a, b = torch.ones(2), torch.zeros(3)
    assert hash_weights({"a": a, "b": b}) == hash_weights({"b": b, "a": a})
    assert hash_weights({"a": a, "b": b}) != hash_weights({"a": a, "c": b})
    assert hash_weights({"a": a, "b": b}) != hash_weights({"a": a, "b": b + 1e-7})


def test_the_first_of_several_test_sets_decides_which_weights_are_best(toy_cfg, run):
    datasets = ["cncb_lesion_test", "cncb_lesion_train"]
    train(toy_cfg(**{"DATASETS.TEST": datasets, "TEST.EVAL_PERIOD": 0}))
    assert (run / "model_best.safetensors").is_file()
    records = [read(run / "inference" / name / "evaluation.json") for name in datasets]
    assert [record["is_a_training_set"] for record in records] == [False, True]
    (shared,) = read(run / "training.json")["patients"]["shared"]
    assert (shared["test"], shared["patients"]) == ("cncb_lesion_train", ["0", "1"])
