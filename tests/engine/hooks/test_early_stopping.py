"""``TEST.PATIENCE``: when training stops and which files it leaves, also after resuming."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from kill_training import metrics

from ct_lesion.checkpoint import description_value, read_checkpoint
from ct_lesion.config_values import check_values
from ct_lesion.engine.checks import check_validation
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError

PATIENT = {
    "SOLVER.MAX_ITER": 5,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 1,
    "TEST.PATIENCE": 2,
    "TEST.EVAL_LOSS": True,
}
# the first value is the best; NaN is ignored; the fourth is the second without improvement
RATES = {1: 30.0, 2: float("nan"), 3: 20.0, 4: 30.0, 5: 25.0}
STOPS_AFTER = 4


@pytest.fixture
def rated(monkeypatch) -> list[int]:
    """Makes evaluations return ``RATES``, and records the evaluated iterations."""
    evaluated = []

    def rate(self: LesionTrainer) -> dict:
        evaluated.append(self.iter + 1)
        self._last_eval_results = {"segm": {"AP": RATES[min(self.iter + 1, self.max_iter)]}}
        return self._last_eval_results

    monkeypatch.setattr(LesionTrainer, "_evaluate", rate)
    return evaluated


def run(cfg, resume: bool = False) -> LesionTrainer:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.results = trainer.train()
    return trainer


def test_a_resumed_run_stops_where_the_whole_run_does(toy_cfg, tmp_path, rated, caplog) -> None:
    folder = tmp_path / "run"
    with caplog.at_level(logging.INFO, "ct_lesion.engine.trainer"):
        whole = run(toy_cfg(**PATIENT))
    why = "segm/AP has not risen above 30.000, reached at iteration 1, in 2 evaluations"
    assert f"Stopped early at iteration {STOPS_AFTER} of 5: {why} (TEST.PATIENCE 2)" in caplog.text
    assert rated == [1, 2, 3, 4]
    assert whole.results == {"segm": {"AP": RATES[STOPS_AFTER]}}
    record = json.loads((folder / "training.json").read_text())
    assert record["iterations"] == STOPS_AFTER
    assert record["stopped_early"].startswith(why)
    best, final = (
        read_checkpoint(folder / f"model_{name}.safetensors") for name in ("best", "final")
    )
    assert description_value(best.description, "metrics")["iteration"] == 1
    assert description_value(final.description, "metrics")["segm/AP"] == RATES[STOPS_AFTER]
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    lines = metrics(folder)
    assert {"val_loss/total", "val_loss/loss_mask", "val_loss/loss_rpn_cls"} <= set().union(*lines)

    # killed after its third checkpoint, before the evaluation that follows it
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("model_0000002.pth", "training.json", "metrics.json"):
        shutil.copy(folder / name, killed / name)
    (killed / "last_checkpoint").write_text("model_0000002.pth")
    rated.clear()
    again = run(toy_cfg(**PATIENT, OUTPUT_DIR=str(killed)), resume=True)
    assert rated == [3, 4]
    assert again.iter == STOPS_AFTER
    assert metrics(killed) == lines
    for name, tensor in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], tensor, rtol=0, atol=1e-6)

    # a stopped run stays stopped; with more patience it trains further
    assert run(toy_cfg(**PATIENT, OUTPUT_DIR=str(killed)), resume=True).iter == STOPS_AFTER
    more = {**PATIENT, "TEST.PATIENCE": 4, "TEST.EVAL_LOSS": False}
    longer = run(toy_cfg(**more, OUTPUT_DIR=str(killed)), resume=True)
    assert longer.iter == 5
    record = json.loads((killed / "training.json").read_text())
    assert (record["iterations"], record["stopped_early"]) == (5, None)


def test_an_unknown_metric_is_refused(toy_cfg, rated) -> None:
    cfg = toy_cfg(**{**PATIENT, "TEST.BEST_METRIC": "segm/AQ", "TEST.EVAL_LOSS": False})
    with pytest.raises(ConfigError, match=r"BEST_METRIC segm/AQ, .* of the evaluation: .*segm/AP"):
        run(cfg)


def test_keys_that_need_an_evaluation_in_training(toy_cfg, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"TEST\.PATIENCE is 2, but TEST\.EVAL_PERIOD is 0"):
        check_values(toy_cfg(**{**PATIENT, "TEST.EVAL_PERIOD": 0}), "my.yaml", "training")
    with pytest.raises(ConfigError, match=r"TEST\.PATIENCE is -1, expected 0 to"):
        check_values(toy_cfg(**{**PATIENT, "TEST.PATIENCE": -1}), "my.yaml", "training")
    with pytest.raises(ConfigError, match=r"TEST\.EVAL_LOSS is True, but there is no dataset"):
        check_validation(toy_cfg(**{"TEST.EVAL_LOSS": True, "DATASETS.TEST": ()}))
