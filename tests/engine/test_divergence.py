"""A NaN or infinite loss stops training with one line and a record, and keeps checkpoints."""

import json
from pathlib import Path

import pytest
import torch

from ct_lesion.engine.divergence import TrainingDivergedError
from ct_lesion.engine.trainer import LesionTrainer

QUIET = {"TEST.EVAL_PERIOD": 0, "SOLVER.CHECKPOINT_PERIOD": 1, "SOLVER.MAX_ITER": 5}


def diverging(cfg, at: int, spoil) -> LesionTrainer:
    """A trainer that calls ``spoil`` before iteration ``at`` to make it diverge."""
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    run_step = trainer.run_step

    def spoiled() -> None:
        if trainer.iter == at:
            spoil(trainer)
        run_step()

    trainer.run_step = spoiled
    return trainer


def nan_loss(trainer: LesionTrainer) -> None:
    """Makes all losses of the mask head NaN."""
    trainer.model.roi_heads.mask_head.register_forward_hook(
        lambda module, inputs, losses: {name: loss * float("nan") for name, loss in losses.items()}
    )


def infinite_gradient(trainer: LesionTrainer) -> None:
    """Makes weights infinite after a step with a finite loss."""
    weight = trainer.model.roi_heads.mask_head.predictor.weight
    weight.register_hook(lambda gradient: gradient * float("inf"))


def nan_features(trainer: LesionTrainer) -> None:
    """Makes the predicted boxes NaN, which Detectron2 itself detects."""
    trainer.model.backbone.register_forward_hook(
        lambda module, inputs, maps: {name: x * float("nan") for name, x in maps.items()}
    )


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (nan_loss, "the loss is NaN or infinite"),
        (infinite_gradient, "a weight is NaN or infinite after a step with a finite loss"),
        (nan_features, "Predicted boxes or scores contain Inf/NaN"),
    ],
)
def test_it_stops_and_names_the_slices(toy_cfg, tmp_path: Path, caplog, spoil, reason) -> None:
    trainer = diverging(toy_cfg(**QUIET), 2, spoil)
    with pytest.raises(TrainingDivergedError) as error:
        trainer.train()
    message = str(error.value)
    assert message.startswith(f"Training diverged at iteration 2: {reason}")
    assert "lower SOLVER.BASE_LR (the rate was 0.001)" in message
    assert "\n" not in message
    run = tmp_path / "run"
    assert str(run / "diverged.json") in message
    record = json.loads((run / "diverged.json").read_text())
    assert record["iteration"] == 2
    assert [s["file_name"] for s in record["slices"]] == [
        s["file_name"] for s in trainer.data_loader.last_batch
    ]
    assert len(record["slices"]) == 2
    if spoil is nan_loss:
        assert record["losses"]["loss_mask"] == "nan"
        assert record["losses"]["loss_cls"] > 0
    last = run / "model_0000001.pth"
    assert record["last_checkpoint"] == str(last)
    assert (run / "last_checkpoint").read_text() == last.name
    weights = torch.load(last, weights_only=True)["model"]
    assert all(torch.isfinite(w).all() for w in weights.values())
    assert not (run / "model_0000002.pth").exists()
    assert not (run / "model_final.safetensors").exists()
    assert not any(r.exc_info for r in caplog.records)


def test_other_errors_keep_their_traceback(toy_cfg, caplog) -> None:
    def fail(trainer: LesionTrainer) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        diverging(toy_cfg(**QUIET), 0, fail).train()
    assert any(r.exc_info for r in caplog.records)


def test_the_record_of_an_earlier_run_is_removed(toy_cfg, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError):
        diverging(toy_cfg(**QUIET), 1, nan_loss).train()
    diverging(toy_cfg(**QUIET), 9, nan_loss).train()
    assert not (tmp_path / "run/diverged.json").exists()
