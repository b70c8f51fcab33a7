"""The training tool: killed, repeated, and on a full disk."""

import json

from full_disk import files_of_at_most
from kill_training import OVERRIDES, kill_many

from ct_lesion import load_config
from ct_lesion.engine.trainer import LesionTrainer


def test_a_deterministic_run_killed_twice_ends_like_an_undisturbed_run(
    lesion_root, tmp_path, monkeypatch
) -> None:
    """Bit for bit, with two threads, two loader processes, augmentation and the fast path."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    keys = ["SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "0", "SOLVER.IMS_PER_BATCH", "4"]
    keys += ["DATALOADER.NUM_WORKERS", "2", "INPUT.INTENSITY", "0.2"]
    tally = kill_many(
        tmp_path, lesion_root, kills=2, seed=4, overrides=keys, longest=0.1, deterministic=True
    )
    assert tally.faults == []
    assert tally.killed_in_training >= 1
    assert max(tally.resumed_from) > 0
    record = json.loads((tmp_path / "alone/training.json").read_text())
    assert record["deterministic"] is True
    assert record["seed"] == 3


def test_a_full_disk_gives_one_line_and_keeps_the_last_checkpoint(
    run_tool, datasets, tmp_path
) -> None:
    run = tmp_path / "run"
    keys = [*OVERRIDES, "TEST.EVAL_PERIOD", "0", "SOLVER.MAX_ITER", "1", "OUTPUT_DIR", str(run)]
    trainer = LesionTrainer(load_config("segmentation/resnet18_t2.yaml", keys))
    trainer.resume_or_load(resume=False)
    trainer.train()
    kept = {path: path.read_bytes() for path in run.glob("*.pth")}
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    config = ["--config-file", "segmentation/resnet18_t2.yaml", "--resume"]
    with files_of_at_most(1 << 20):
        result = run_tool("train_net.py", *config, *keys, "SOLVER.MAX_ITER", "3")
    assert result.returncode == 2
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith(f"Error: Cannot write {run / 'model_0000001.pth'} (File too large)")
    assert "Traceback" not in result.stderr + result.stdout
    assert {path: path.read_bytes() for path in run.glob("*.pth")} == kept
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    assert not list(run.glob(".*"))
