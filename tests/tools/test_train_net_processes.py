"""The training tool with two processes, its own and those of torchrun."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ct_lesion.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = [str(REPOSITORY / "tools/train_net.py"), "--config-file", "segmentation/resnet18_t2.yaml"]
PYTHON = [sys.executable, "-W", "ignore"]
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "16", "INPUT.MIN_SIZE_TRAIN", "[64]"]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", "50", "DATALOADER.NUM_WORKERS", "0"]
SMALL += ["DATASETS.TEST", "()", "TEST.EVAL_PERIOD", "0", "SOLVER.IMS_PER_BATCH", "2"]


@pytest.fixture
def environment(lesion_root) -> dict[str, str]:
    own = {"DETECTRON2_DATASETS": str(lesion_root), "PYTHONPATH": str(REPOSITORY)}
    return {**os.environ, **own}


def children_of(pid: int) -> list[int]:
    """Processes that multiprocessing has started for another, in the order of their start."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "spawn_main" in command:
            found.append(int(folder.name))
    return sorted(found)


def test_a_killed_process_ends_the_run_and_leaves_its_checkpoint(environment, tmp_path):
    run = tmp_path / "run"
    options = ["OUTPUT_DIR", str(run), "SOLVER.MAX_ITER", "100000", "SOLVER.CHECKPOINT_PERIOD", "2"]
    command = [*PYTHON, *TOOL, "--num-gpus", "2", *SMALL, *options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 180
        while not (run / "last_checkpoint").is_file():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.05)
        first, second = children_of(process.pid)
        os.kill(second, signal.SIGKILL)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert len(re.findall(r"Error: process \d of 2 \(.*\) was killed by SIGKILL", said)) == 1, said
    assert "--resume" in said
    assert "Traceback" not in said
    assert not Path(f"/proc/{first}").exists()
    name = (run / "last_checkpoint").read_text()
    assert read_checkpoint(run / name).rest["iteration"] == int(name[-11:-4])


def test_a_mistake_is_said_once(environment, tmp_path):
    options = ["OUTPUT_DIR", str(tmp_path / "run"), "MODEL.WEIGHTS", "gone.pth"]
    command = [*PYTHON, *TOOL, "--num-gpus", "2", *SMALL, *options]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("Error: ") == result.stderr.count("gone.pth") == 1, result.stderr
    assert "Traceback" not in result.stderr


def test_torchruns_processes_train_together(environment, tmp_path):
    run = tmp_path / "run"
    torchrun = [*PYTHON, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, *TOOL, *SMALL, "OUTPUT_DIR", str(run), "SOLVER.MAX_ITER", "2"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    record = json.loads((run / "training.json").read_text())
    assert (record["iterations"], record["hardware"]["processes"]) == (2, 2)
    assert (run / "model_final.safetensors").is_file()
