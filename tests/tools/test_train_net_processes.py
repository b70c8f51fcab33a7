"""The training tool with two processes, started by itself or by torchrun."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tool_runs import REPOSITORY, script

from ct_lesion.checkpoint import read_checkpoint

CONFIG = ["--config-file", "segmentation/resnet18_t2.yaml"]
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "16", "INPUT.MIN_SIZE_TRAIN", "[64]"]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", "50", "DATALOADER.NUM_WORKERS", "0"]
SMALL += ["DATASETS.TEST", "()", "TEST.EVAL_PERIOD", "0", "SOLVER.IMS_PER_BATCH", "2"]


@pytest.fixture
def environment(lesion_root) -> dict[str, str]:
    changed = {"DETECTRON2_DATASETS": str(lesion_root), "PYTHONPATH": str(REPOSITORY)}
    return {**os.environ, **changed}


def children_of(pid: int) -> list[int]:
    """Process ids of the multiprocessing children of a process, in the order of their start."""
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
    command = script("train_net.py", *CONFIG, "--num-gpus", "2", *SMALL, *options)
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 180
        while not (run / "last_checkpoint").is_file():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first, second = children_of(process.pid)
        os.kill(second, signal.SIGKILL)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    killed = re.findall(r"Error: process \d of 2 \(.*\) was killed by SIGKILL", stderr)
    assert len(killed) == 1, stderr
    assert "--resume" in stderr
    assert "Traceback" not in stderr
    assert not Path(f"/proc/{first}").exists()
    name = (run / "last_checkpoint").read_text()
    assert read_checkpoint(run / name).rest["iteration"] == int(name[-11:-4])


def test_processes_of_torchrun_train_together(environment, tmp_path):
    run = tmp_path / "run"
    python, _, _, *tool = script(
        "train_net.py", *CONFIG, *SMALL, "OUTPUT_DIR", run, "SOLVER.MAX_ITER", 2
    )
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [python, *torchrun, *tool]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    record = json.loads((run / "training.json").read_text())
    assert (record["iterations"], record["hardware"]["processes"]) == (2, 2)
    assert (run / "model_final.safetensors").is_file()
