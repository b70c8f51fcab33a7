"""A run that is resumed with changed keys logs them, and applies or refuses them."""

import json

import pytest
import torch

from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import CheckpointError

SOLVER = {
    "SOLVER.OPTIMIZER": "Adam",
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.WARMUP_ITERS": 0,
    "SOLVER.STEPS": (3,),  # the rate is a tenth from iteration 3 on
    "SOLVER.GAMMA": 0.1,
    "SOLVER.MAX_ITER": 8,
    "SOLVER.CHECKPOINT_PERIOD": 2,
    "TEST.EVAL_PERIOD": 0,
}


@pytest.fixture
def resumed(toy_cfg):
    """Resumes a run whose checkpoint has done two of eight iterations."""
    first = LesionTrainer(toy_cfg(**SOLVER))
    first.resume_or_load(resume=False)
    first.iter = 1
    first.scheduler.last_epoch = 2
    for parameter in first.optimizer.param_groups[0]["params"]:
        parameter.grad = torch.ones_like(parameter)
    first.optimizer.step()
    first.checkpointer.save("model_0000001")

    def resume(**overrides: object) -> LesionTrainer:
        trainer = LesionTrainer(toy_cfg(**{**SOLVER, **overrides}))
        trainer.resume_or_load(resume=True)
        assert trainer.start_iter == 2
        return trainer

    return resume


def rates(trainer: LesionTrainer) -> set[float]:
    return {round(group["lr"], 9) for group in trainer.optimizer.param_groups}


def test_unchanged_keys_are_not_logged(resumed, caplog) -> None:
    trainer = resumed()
    assert rates(trainer) == {1e-3}
    assert "differ" not in caplog.text
    assert trainer.record.changes == []


def test_a_new_rate_is_applied_logged_and_recorded(resumed, caplog) -> None:
    keys = {"SOLVER.BASE_LR": 4e-4, "SOLVER.WEIGHT_DECAY": 0.5, "DATALOADER.NUM_WORKERS": 1}
    trainer = resumed(**keys)
    assert rates(trainer) == {4e-4}
    decays = {group["weight_decay"] for group in trainer.optimizer.param_groups}
    assert decays == {0.5, 0.001}  # WEIGHT_DECAY_NORM is a separate key
    moment = next(iter(trainer.optimizer.state.values()))["exp_avg"]
    # the checkpoint's: a tenth of the gradient, which includes the weight decay
    assert torch.allclose(moment, torch.full_like(moment, 0.1), atol=1e-2)
    trainer.scheduler.step()  # to iteration 3
    assert rates(trainer) == {4e-5}
    assert (
        "From iteration 2 on, keys differ from the checkpoint's: SOLVER.BASE_LR 0.001 -> 0.0004, "
        "SOLVER.WEIGHT_DECAY 0.001 -> 0.5." in caplog.text
    )
    expected = {"SOLVER.BASE_LR": [1e-3, 4e-4], "SOLVER.WEIGHT_DECAY": [1e-3, 0.5]}
    assert trainer.record.changes == [{"iteration": 2, "keys": expected}]


def test_a_new_schedule_applies_from_the_first_step(resumed, caplog) -> None:
    trainer = resumed(**{"SOLVER.STEPS": (1,), "SOLVER.IMS_PER_BATCH": 4})
    assert rates(trainer) == {1e-4}
    assert "SOLVER.IMS_PER_BATCH 2 -> 4" in caplog.text
    assert "SOLVER.STEPS (3,) -> (1,)" in caplog.text


def test_changes_are_in_training_json_after_a_further_resume(resumed, toy_cfg, tmp_path) -> None:
    trainer = resumed(
        **{"SOLVER.BASE_LR": 4e-4, "SOLVER.MAX_ITER": 3}
    )  # the step at its end has no effect
    trainer.train()
    again = LesionTrainer(toy_cfg(**{**SOLVER, "SOLVER.BASE_LR": 4e-4, "SOLVER.MAX_ITER": 4}))
    again.resume_or_load(resume=True)
    again.train()
    changes = json.loads((tmp_path / "run" / "training.json").read_text())["changed_on_resume"]
    assert [change["iteration"] for change in changes] == [2, 3]
    assert changes[1]["keys"] == {"SOLVER.MAX_ITER": [3, 4]}


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"SOLVER.OPTIMIZER": "SGD"}, "state of another optimizer"),
        ({"SOLVER.OPTIMIZER": "AdamW"}, "state of another optimizer"),
        ({"SOLVER.MAX_ITER": 1}, "it has done 2 iterations, SOLVER.MAX_ITER is 1"),
        ({"SOLVER.BIAS_LR_FACTOR": 2.0}, "its optimizer has groups of"),
        ({"MODEL.BACKBONE.FREEZE_AT": 2}, "its optimizer has groups of"),
    ],
)
def test_keys_that_prevent_a_resume_are_refused_in_one_line(resumed, overrides, reason) -> None:
    with pytest.raises(CheckpointError, match=reason) as refusal:
        resumed(**overrides)
    message = str(refusal.value)
    assert "\n" not in message
    assert "model_0000001.pth cannot be resumed with this config" in message
    (key,) = overrides
    assert f"{key} " in message
    assert "MODEL.WEIGHTS, without --resume" in message


class OtherSchedule(LesionTrainer):
    @classmethod
    def build_lr_scheduler(cls, cfg, optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, 3)


def test_another_scheduler_keeps_the_checkpoints_rates(resumed, toy_cfg) -> None:
    trainer = OtherSchedule(toy_cfg(**{**SOLVER, "SOLVER.WEIGHT_DECAY": 0.5}))
    trainer.resume_or_load(resume=True)
    assert rates(trainer) == {1e-3}
    with pytest.raises(CheckpointError, match="only Detectron2's schedulers can continue"):
        OtherSchedule(toy_cfg(**{**SOLVER, "SOLVER.BASE_LR": 4e-4})).resume_or_load(resume=True)


# ---- the seed of random padding -----------------------------------------------------------------
def rows(model: torch.nn.Module) -> torch.Tensor:
    image = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()([{"image": image.float()}])[0]["roi_batch"]


def test_the_seed_of_random_padding_belongs_to_the_checkpoint(toy_classifier_cfg) -> None:
    random = {"MODEL.ROI_BATCH.PADDING": "random", "MODEL.ROI_BATCH.SIZE": 64}
    trained = LesionTrainer(toy_classifier_cfg(**random, SEED=-1))  # draws a seed
    trained.resume_or_load(resume=False)
    trained.checkpointer.save("model_0000000")
    expected = rows(trained.model)
    weights = trained.checkpointer.save_weights("model_final")
    for seed in (-1, 5):
        cfg = toy_classifier_cfg(**random, **{"SEED": seed, "MODEL.WEIGHTS": str(weights)})
        evaluated = load_trained(cfg)
        assert evaluated.roi_batch.seed == trained.seed
        torch.testing.assert_close(rows(evaluated), expected, rtol=0, atol=1e-4)
        resumed = LesionTrainer(cfg)
        assert not torch.allclose(rows(resumed.model), expected, atol=1e-4)
        resumed.resume_or_load(resume=True)
        assert resumed.cfg.SEED == resumed.seed == trained.seed
        torch.testing.assert_close(rows(resumed.model), expected, rtol=0, atol=1e-4)
        assert resumed.model.roi_batch.seed == trained.seed
        again = resumed.checkpointer.save_weights("again")
        assert load_trained(cfg, weights=again).roi_batch.seed == trained.seed


# ---- what a resumed run starts from -------------------------------------------------------------
def test_a_folder_without_checkpoint_is_logged(toy_cfg, tmp_path, caplog) -> None:
    LesionTrainer(toy_cfg(**SOLVER)).resume_or_load(resume=True)
    assert f"{tmp_path / 'run'} holds no checkpoint" in caplog.text
    assert "starts from iteration 0" in caplog.text


def test_resuming_a_complete_run_is_logged(resumed, caplog) -> None:
    resumed(**{"SOLVER.MAX_ITER": 2})
    assert "The run has done all of its 2 iterations (SOLVER.MAX_ITER)" in caplog.text
