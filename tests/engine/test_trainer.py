import json
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage

from ct_lesion.checkpoint import description_value, read_checkpoint
from ct_lesion.data.loading.training_stream import build_training_stream
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import DatasetError


def train(cfg, resume: bool = False) -> LesionTrainer:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_leaves_checkpoints_weights_and_evaluations(toy_cfg, run):
    train(toy_cfg())
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    assert (run / "model_0000001.pth").is_file()
    final = read_checkpoint(run / "model_final.safetensors")
    assert description_value(final.description, "class_names") == ["Lesion"]
    assert set(description_value(final.description, "dataset_hashes")) == {
        "cncb_lesion_train",
        "cncb_lesion_test",
    }
    assert "segm/AP" in description_value(final.description, "metrics")
    metrics = json.loads(
        (run / "inference/cncb_lesion_test/segmentation_metrics.json").read_text("utf-8")
    )
    parts = {"bbox", "segm", "paper_table_2", "lesions", "patients", "max_detections"}
    assert parts == set(metrics)
    assert set(metrics["patients"]) == {"2", "3"}


def test_a_resumed_run_continues_after_the_last_checkpoint(toy_cfg, run):
    train(toy_cfg(**{"SOLVER.MAX_ITER": 2, "TEST.EVAL_PERIOD": 0}))
    trainer = LesionTrainer(toy_cfg())
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 2
    steps = {id(s): s["step"] for s in trainer.optimizer.state.values()}
    assert {float(step) for step in steps.values()} == {2.0}, "Adam's state is restored"
    trainer.train()
    assert (run / "last_checkpoint").read_text() == "model_final.pth"


@pytest.fixture
def rated(monkeypatch):
    """Makes evaluations return given values of the metric, in turn."""

    def rate(*values: float) -> None:
        queue = list(values)
        monkeypatch.setattr(
            LesionTrainer, "test", classmethod(lambda *_: {"segm": {"AP": queue.pop(0)}})
        )

    return rate


def best(run: Path) -> dict:
    return description_value(read_checkpoint(run / "model_best.safetensors").description, "metrics")


def test_the_best_weights_are_kept_and_not_resumed_from(toy_cfg, run, rated):
    rated(30.0, 20.0)
    train(toy_cfg())
    assert best(run) == {"segm/AP": 30.0, "iteration": 2}
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    at_best = torch.load(run / "model_0000001.pth", weights_only=True)["model"]
    kept = read_checkpoint(run / "model_best.safetensors").model
    for name, tensor in at_best.items():
        torch.testing.assert_close(kept[name], tensor)


def test_the_best_value_survives_a_resume(toy_cfg, run, rated):
    rated(30.0)
    train(toy_cfg(**{"SOLVER.MAX_ITER": 2}))
    rated(30.0, 20.0)  # the evaluation of the checkpoint's iteration is done again
    train(toy_cfg(), resume=True)
    assert best(run)["segm/AP"] == 30.0, "a worse evaluation does not replace it"
    rated(40.0)
    train(toy_cfg(**{"SOLVER.MAX_ITER": 6, "TEST.EVAL_PERIOD": 0}), resume=True)
    assert best(run)["segm/AP"] == 40.0


def test_a_new_run_forgets_the_best_of_an_earlier_one(toy_cfg, run, rated):
    rated(30.0)
    train(toy_cfg(**{"SOLVER.MAX_ITER": 2}))
    rated(10.0)
    train(toy_cfg(**{"SOLVER.MAX_ITER": 2}))
    assert best(run)["segm/AP"] == 10.0


def test_slices_without_lesions_train_alone_and_mixed(toy_cfg, run):
    overrides = {"DATALOADER.FILTER_EMPTY_ANNOTATIONS": False, "TEST.EVAL_PERIOD": 0}
    trainer = LesionTrainer(toy_cfg(**overrides))
    records = trainer.data_loader.records
    assert len(records) == 6
    empty = [r for r in records if not r["annotations"]]
    full = [r for r in records if r["annotations"]]
    assert len(empty) == 2
    for chosen in (empty, [empty[0], full[0]]):
        mapper = LesionTrainer.build_mapper(trainer.cfg, is_train=True)
        loader = iter(build_training_stream(trainer.cfg, chosen, mapper, seed=1))
        trainer.model.train()
        with EventStorage():
            losses = trainer.model(next(loader))
        total = sum(losses.values())
        assert torch.isfinite(total)
        total.backward()
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        assert gradients
        assert all(torch.isfinite(g).all() for g in gradients)


def test_epochs_are_counted_in_slices_that_train(toy_cfg, run):
    # four of six slices have lesions; batches of two
    assert LesionTrainer(toy_cfg()).iterations_per_epoch == 2


def test_no_detection_gives_zeros_and_a_warning(toy_cfg, run, caplog):
    cfg = toy_cfg(**{"MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.999})
    model = LesionTrainer.build_model(cfg)
    with caplog.at_level("WARNING"):
        results = LesionTrainer.test(cfg, model)
    assert results["segm"]["AP"] == results["bbox"]["AP50"] == 0.0
    assert any("no detections in cncb_lesion_test" in r.getMessage() for r in caplog.records)
    metrics = json.loads(
        (run / "inference/cncb_lesion_test/segmentation_metrics.json").read_text("utf-8")
    )
    # two of six test slices have no lesion, and score 1 in the published definition
    assert metrics["paper_table_2"]["release"]["AP50"] == pytest.approx(2 / 6)
    assert metrics["lesions"] == {"lesions": 8, "found": 0, "false": 0}


def test_the_ground_truth_is_read_from_the_current_folder(toy_cfg, datasets, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", "elsewhere")
    with pytest.raises(DatasetError, match="elsewhere"):
        DatasetCatalog.get("cncb_lesion_test")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    evaluator = LesionTrainer.build_evaluator(toy_cfg(), "cncb_lesion_test")
    results = LesionTrainer.test(toy_cfg(), LesionTrainer.build_model(toy_cfg()), [evaluator])
    assert "AP" in results["segm"]
