"""Processes of the training tool: killed, on a full disk, and repeated."""

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from kill_training import OVERRIDES, final_weights, kill_many
from tool_runs import REPOSITORY, script

from ct_lesion import load_config
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.trainer import LesionTrainer

SHORT = ["SOLVER.MAX_ITER", "4", "TEST.EVAL_PERIOD", "0"]


def test_a_training_killed_twice_ends_like_an_undisturbed_one(lesion_root, tmp_path) -> None:
    keys = [*SHORT, "DATALOADER.NUM_WORKERS", "0"]
    tally = kill_many(tmp_path, lesion_root, kills=2, seed=4, overrides=keys, longest=0.1)
    assert tally.faults == []
    assert tally.killed_in_training >= 1
    assert max(tally.resumed_from) > 0


@pytest.fixture
def train(lesion_root: Path, tmp_path: Path):
    def run(folder: str, *arguments: str, **options: object) -> subprocess.CompletedProcess:
        config = ["--config-file", "segmentation/resnet18_t2.yaml"]
        command = script("train_net.py", *config, *arguments)
        environment = {"PYTHONPATH": str(REPOSITORY), "DETECTRON2_DATASETS": str(lesion_root)}
        return subprocess.run(
            [*command, "OUTPUT_DIR", str(tmp_path / folder)],
            capture_output=True,
            text=True,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "2"},
            **options,
        )

    return run


def small_files_only() -> None:
    """Limit files to one MiB, to imitate a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def test_a_full_disk_gives_one_line_and_keeps_the_last_checkpoint(
    train, datasets, tmp_path
) -> None:
    one = ["SOLVER.CHECKPOINT_PERIOD", "1", "TEST.EVAL_PERIOD", "0"]
    run = tmp_path / "run"
    keys = [*OVERRIDES, *one, "SOLVER.MAX_ITER", "1", "OUTPUT_DIR", str(run)]
    trainer = LesionTrainer(load_config("segmentation/resnet18_t2.yaml", keys))
    trainer.resume_or_load(resume=False)
    trainer.train()
    kept = {path: path.read_bytes() for path in run.glob("*.pth")}
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    result = train(
        "run", "--resume", *OVERRIDES, *one, "SOLVER.MAX_ITER", "3", preexec_fn=small_files_only
    )
    assert result.returncode == 2
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith(f"Error: Cannot write {run / 'model_0000001.pth'} (File too large)")
    assert "Traceback" not in result.stderr + result.stdout
    assert {path: path.read_bytes() for path in run.glob("*.pth")} == kept
    assert (run / "last_checkpoint").read_text() == "model_final.pth"
    assert not list(run.glob(".*"))


def test_two_deterministic_runs_are_identical_bit_for_bit(train, tmp_path) -> None:
    """With two threads, two loader processes, augmentation and the fast path."""
    keys = [*OVERRIDES, *SHORT, "DATALOADER.NUM_WORKERS", "2", "INPUT.INTENSITY", "0.2"]
    keys += ["SOLVER.CHECKPOINT_PERIOD", "100", "SOLVER.IMS_PER_BATCH", "4"]
    for folder in ("first", "second"):
        result = train(folder, "--deterministic", *keys)
        assert result.returncode == 0, result.stderr
    first, second = (hash_weights(final_weights(tmp_path / name)) for name in ("first", "second"))
    assert first == second
    record = json.loads((tmp_path / "first/training.json").read_text())
    assert record["deterministic"] is True
    assert record["seed"] == 3
