"""A run that is killed and resumed gives the results of an uninterrupted run."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_training import metrics

from ct_lesion.engine.run_record import choose_seed
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import CheckpointError

AUGMENTED = {
    "INPUT.RANDOM_FLIP": "horizontal",
    "INPUT.VERTICAL_FLIP": True,
    "INPUT.ROTATION": 15.0,
    "INPUT.INTENSITY": 0.2,
    "SOLVER.LR_SCHEDULER_NAME": "WarmupCosineLR",
    "SOLVER.WARMUP_ITERS": 3,
    "SOLVER.MAX_ITER": 6,
    "SOLVER.CHECKPOINT_PERIOD": 3,
    "TEST.EVAL_PERIOD": 0,
}


def run(cfg, resume: bool = False) -> LesionTrainer:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def losses(trainer: LesionTrainer) -> dict[int, float]:
    return {when: value for value, when in trainer.storage.history("total_loss").values()}


def killed_copy(folder: Path, checkpoint: str = "model_0000002.pth") -> Path:
    """The files of a run that was killed after the fourth of its six iterations."""
    copy = folder.with_name("killed")
    copy.mkdir()
    for name in (checkpoint, "training.json", "metrics.json"):
        shutil.copy(folder / name, copy / name)
    (copy / "last_checkpoint").write_text(checkpoint)
    (copy / ".partial-0-model_0000005.pth").write_bytes(b"half")
    return copy


def compare_with_killed(make, tmp_path: Path, **overrides: object) -> None:
    whole = run(make(**AUGMENTED, **overrides))
    killed = killed_copy(tmp_path / "run")
    random.seed(3), np.random.seed(4), torch.manual_seed(5)  # another process
    resumed = run(make(**AUGMENTED, **overrides, OUTPUT_DIR=str(killed)), resume=True)
    assert resumed.start_iter == 3
    expected, actual = losses(whole), losses(resumed)
    assert list(actual) == list(expected) == [0, 1, 2, 3, 4, 5]  # three come from the checkpoint
    assert len(set(expected.values())) == 6
    assert actual == pytest.approx(expected, abs=1e-6)
    weights = resumed.model.state_dict()
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=0, atol=1e-6)
    assert metrics(killed) == metrics(tmp_path / "run")
    assert not list(killed.glob(".*"))


@pytest.mark.parametrize("workers", [0, 2])
def test_segmentation(toy_cfg, tmp_path, workers: int) -> None:
    compare_with_killed(toy_cfg, tmp_path, **{"DATALOADER.NUM_WORKERS": workers})


@pytest.mark.parametrize("batchnorm", ["affine", "none"])
def test_classifier(toy_classifier_cfg, tmp_path, batchnorm: str) -> None:
    compare_with_killed(
        toy_classifier_cfg, tmp_path, **{"MODEL.CLASSIFIER.TRAIN_BATCHNORM": batchnorm}
    )


def test_classifier_on_cached_roi_batches(toy_classifier_cfg, tmp_path, caplog) -> None:
    def without_augmentation(**overrides: object):
        plain = {"INPUT.RANDOM_FLIP": "none", "INPUT.VERTICAL_FLIP": False, "INPUT.ROTATION": 0.0}
        return toy_classifier_cfg(**{**overrides, **plain, "INPUT.INTENSITY": 0.0})

    with caplog.at_level("INFO"):
        compare_with_killed(
            without_augmentation, tmp_path, **{"MODEL.CLASSIFIER.TRAIN_BATCHNORM": "none"}
        )
    assert "Wrote RoI batches of 6 slices to" in caplog.text


def test_a_killed_evaluation_is_repeated(toy_cfg, tmp_path, monkeypatch) -> None:
    rates = {3: 40.0, 6: 30.0}
    monkeypatch.setattr(LesionTrainer, "test", classmethod(lambda *_: {"segm": {"AP": next(ap)}}))
    overrides = {**AUGMENTED, "TEST.EVAL_PERIOD": 3}
    ap = iter(rates.values())
    run(toy_cfg(**overrides))
    killed = killed_copy(tmp_path / "run")  # without the best weights
    ap = iter(rates.values())
    run(toy_cfg(**overrides, OUTPUT_DIR=str(killed)), resume=True)
    assert (killed / "model_best.safetensors").is_file()
    assert metrics(killed) == metrics(tmp_path / "run")
    assert [m["segm/AP"] for m in metrics(killed) if "segm/AP" in m] == [40.0, 30.0]


def test_killed_before_the_last_file(toy_cfg, tmp_path) -> None:
    whole = run(toy_cfg(**AUGMENTED))
    killed = killed_copy(tmp_path / "run", "model_0000005.pth")
    run(toy_cfg(**AUGMENTED, OUTPUT_DIR=str(killed)), resume=True)
    final = torch.load(killed / "model_final.pth", weights_only=True)
    assert final["trainer"]["iteration"] == 5
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(final["model"][name], tensor)
    assert metrics(killed) == metrics(tmp_path / "run")


def test_a_run_without_seed_resumes_with_the_seed_it_drew(toy_cfg, tmp_path) -> None:
    unseeded = {**AUGMENTED, "SEED": -1}
    whole = run(toy_cfg(**unseeded))
    killed = killed_copy(tmp_path / "run")
    resumed = run(toy_cfg(**unseeded, OUTPUT_DIR=str(killed)), resume=True)
    assert losses(resumed) == pytest.approx(losses(whole), abs=1e-6)
    seeds = [
        json.loads((f / "training.json").read_text())["seed"] for f in (tmp_path / "run", killed)
    ]
    assert seeds[0] == seeds[1] >= 0
    assert choose_seed(toy_cfg(**unseeded), resume=True) == seeds[0]


# ---- which checkpoint ---------------------------------------------------------------------------
@pytest.fixture
def two_checkpoints(toy_cfg, tmp_path) -> Path:
    run(toy_cfg(**{"SOLVER.MAX_ITER": 2, "SOLVER.CHECKPOINT_PERIOD": 1, "TEST.EVAL_PERIOD": 0}))
    folder = tmp_path / "run"
    (folder / "model_final.pth").unlink()
    (folder / "last_checkpoint").write_text("model_0000001.pth")
    return folder


def resumed(cfg) -> LesionTrainer:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=True)
    return trainer


def test_a_damaged_or_missing_last_checkpoint(toy_cfg, two_checkpoints, caplog) -> None:
    last = two_checkpoints / "model_0000001.pth"
    last.write_bytes(last.read_bytes()[:-100])
    assert resumed(toy_cfg()).start_iter == 1
    assert f"{last} is truncated, damaged or not a PyTorch checkpoint" in caplog.text
    assert "model_0000000.pth, the newest complete checkpoint" in caplog.text
    last.unlink()
    assert resumed(toy_cfg()).start_iter == 1
    (two_checkpoints / "model_0000000.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* can be resumed from"):
        resumed(toy_cfg())


def test_killed_before_last_checkpoint_was_written(toy_cfg, two_checkpoints) -> None:
    (two_checkpoints / "last_checkpoint").unlink()
    assert resumed(toy_cfg()).start_iter == 2


def test_resuming_ignores_checkpoints_of_an_earlier_run_in_the_folder(
    toy_cfg, two_checkpoints, caplog
) -> None:
    cfg = toy_cfg(**{"SOLVER.CHECKPOINT_PERIOD": 100, "TEST.EVAL_PERIOD": 0})
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.run_step = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert "contains checkpoints of an earlier run" in caplog.text
    assert resumed(cfg).start_iter == 0


def test_a_new_run_starts_its_own_metrics_file(toy_cfg, two_checkpoints) -> None:
    run(toy_cfg(**{"SOLVER.MAX_ITER": 1, "TEST.EVAL_PERIOD": 0}))
    assert metrics(two_checkpoints)[0]["iteration"] == 0
    assert sum("total_loss" in line for line in metrics(two_checkpoints)) == 1


def test_another_seed_on_resume_is_ignored_with_a_warning(toy_cfg, two_checkpoints, caplog) -> None:
    trainer = resumed(toy_cfg(SEED=7))
    assert "SEED is 7, but the run began with 1" in caplog.text
    assert trainer.state_dict()["seed"] == 1


# ---- mixed precision ----------------------------------------------------------------------------
def test_the_loss_scale_is_restored(toy_cfg, two_checkpoints, caplog) -> None:
    def amp_trainer() -> LesionTrainer:
        trainer = LesionTrainer(toy_cfg(**{"SOLVER.AMP.ENABLED": True}))
        trainer._trainer.grad_scaler = torch.amp.GradScaler("cpu")  # there is no GPU in the tests
        return trainer

    first = amp_trainer()
    first.resume_or_load(resume=True)
    assert "began without SOLVER.AMP.ENABLED" in caplog.text
    first._trainer.grad_scaler.load_state_dict(
        {**first._trainer.grad_scaler.state_dict(), "scale": 1024.0, "_growth_tracker": 7}
    )
    first.iter = 1
    first.checkpointer.save("model_0000001")
    second = amp_trainer()
    second.resume_or_load(resume=True)
    assert second._trainer.grad_scaler.state_dict()["scale"] == 1024.0
    assert second._trainer.grad_scaler.state_dict()["_growth_tracker"] == 7
