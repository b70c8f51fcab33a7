#!/usr/bin/env python3
"""Kill a training at random moments, resume it each time, and compare it with an undisturbed one.

    python tests/helpers/kill_training.py DATASETS --kills 30 --work DIR

DATASETS is a $DETECTRON2_DATASETS that holds the toy or phantom lesions. Most processes are killed
during training, where a checkpoint is written after each iteration; some while they start. Exits
with 1 if a process resumes from the wrong iteration, fails, or leaves other weights or metrics.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ct_lesion.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = {
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "INPUT.MIN_SIZE_TRAIN": [64],
    "INPUT.MIN_SIZE_TEST": 64,
    "INPUT.ROTATION": 15.0,
    "DATASETS.TEST": ("cncb_lesion_test",),
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.CHECKPOINT_PERIOD": 1,
    "TEST.EVAL_PERIOD": 20,
    "SEED": 3,
}
OVERRIDES = [str(item) for pair in CONFIG.items() for item in pair]
START_LINE = re.compile(r"Starting training from iteration (\d+)")
STARTUP_KILLS = 0.1  # share of the processes that are killed while they start
CHECKPOINT_KILLS = 0.8  # share of the other kills that wait for a checkpoint first
LONGEST_STARTUP = 4.0  # seconds


@dataclass
class Tally:
    """Number of kills by moment, start iterations, and faults (none if all went well)."""

    killed_before_training: int = 0
    killed_in_training: int = 0
    killed_while_writing: int = 0
    resumed_from: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return self.killed_before_training + self.killed_in_training


class Training:
    """A process of tools/train_net.py; its output is in ``<folder>.log``."""

    def __init__(self, folder: Path, datasets: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.began = time.time()
        command = [sys.executable, "-W", "ignore", str(REPOSITORY / "tools/train_net.py")]
        command += ["--config-file", "segmentation/resnet18_t2.yaml", "--resume"]
        environment = {"PYTHONPATH": str(REPOSITORY), "DETECTRON2_DATASETS": str(datasets)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *arguments, "OUTPUT_DIR", str(folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def start_iteration(self) -> int | None:
        """The iteration that training started from; ``None`` if it has not started yet."""
        line = START_LINE.search(self.log.read_text(errors="replace"))
        return int(line[1]) if line else None

    def wait_for_start(self) -> int | None:
        while self.running and self.start_iteration() is None:
            time.sleep(0.01)
        return self.start_iteration()

    def wait_for_checkpoint(self) -> None:
        """Wait until this process has written a checkpoint, or has ended."""
        tag = self.folder / "last_checkpoint"
        while self.running and not (tag.is_file() and tag.stat().st_mtime >= self.began):
            time.sleep(0.005)

    def kill(self) -> bool:
        """Kill the process with SIGKILL; returns whether it was still running."""
        was_running = self.running
        self.process.kill()
        self.process.wait()
        return was_running


def kill_many(
    work: Path,
    datasets: Path,
    kills: int,
    seed: int,
    overrides: Sequence[str],
    longest: float = 1.0,
    deterministic: bool = False,
) -> Tally:
    """Kill and resume a training ``kills`` times, let it finish, and compare it.

    Args:
        work: folder for the two runs.
        datasets: ``$DETECTRON2_DATASETS``.
        kills: number of kills; fewer if the training finishes first.
        seed: seed of the random moments.
        overrides: further config overrides.
        longest: most seconds that a process trains before it is killed.
        deterministic: train with ``--deterministic``.
    """
    work.mkdir(parents=True, exist_ok=True)
    moments, tally = random.Random(seed), Tally()
    arguments = [*(["--deterministic"] if deterministic else []), *OVERRIDES, *overrides]
    undisturbed = Training(work / "alone", datasets, arguments)
    if undisturbed.process.wait() != 0:
        tally.faults.append(f"the undisturbed run failed: {undisturbed.log}")
        return tally
    folder = work / "killed"
    finished = False
    while tally.kills < kills and not tally.faults and not finished:
        finished = _train_until_killed(folder, datasets, arguments, moments, longest, tally)
    if not tally.faults and not finished:
        _finish(Training(folder, datasets, arguments), tally)
    if not tally.faults:
        _compare(undisturbed.folder, folder, tally)
    return tally


def _train_until_killed(
    folder: Path,
    datasets: Path,
    arguments: Sequence[str],
    moments: random.Random,
    longest: float,
    tally: Tally,
) -> bool:
    """Start or resume the run and kill it; returns whether it finished first."""
    expected = checkpoint_iteration(folder) + 1
    training = Training(folder, datasets, arguments)
    if moments.random() < STARTUP_KILLS:
        time.sleep(moments.uniform(0, LONGEST_STARTUP))
    else:
        _check_start(training, expected, tally)
        if moments.random() < CHECKPOINT_KILLS:
            training.wait_for_checkpoint()
        time.sleep(moments.uniform(0, longest))
    if not training.kill():
        if training.process.returncode != 0:
            tally.faults.append(f"a process failed: {training.log}")
        return True
    if training.start_iteration() is None:
        tally.killed_before_training += 1
    else:
        tally.killed_in_training += 1
    tally.killed_while_writing += any(folder.glob(".partial-*"))
    return False


def _finish(training: Training, tally: Tally) -> None:
    _check_start(training, checkpoint_iteration(training.folder) + 1, tally)
    if training.process.wait() != 0:
        tally.faults.append(f"the last process failed: {training.log}")


def _check_start(training: Training, expected: int, tally: Tally) -> None:
    start = training.wait_for_start()
    if start == expected:
        tally.resumed_from.append(start)
    else:
        tally.faults.append(f"started from {start}, not {expected}: {training.log}")


def _compare(undisturbed: Path, killed: Path, tally: Tally) -> None:
    expected, actual = final_weights(undisturbed), final_weights(killed)
    differing = [n for n, tensor in expected.items() if not torch.equal(actual[n], tensor)]
    if differing:
        tally.faults.append(f"{len(differing)} of {len(expected)} tensors differ")
    if metrics(undisturbed) != metrics(killed):
        tally.faults.append("metrics.json differs")
    if list(killed.glob(".*")):
        tally.faults.append("temporary files are left")


def checkpoint_iteration(folder: Path) -> int:
    """Iteration of the checkpoint that ``last_checkpoint`` names; -1 if there is none."""
    tag = folder / "last_checkpoint"
    if not tag.is_file():
        return -1
    return int(read_checkpoint(folder / tag.read_text()).rest["trainer"]["iteration"])


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "model_final.safetensors").model


def metrics(folder: Path) -> list[dict]:
    """Lines of metrics.json without the measured times."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    timed = ("time", "eta", "data_time", "rank_data_time")
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("datasets", type=Path, help="$DETECTRON2_DATASETS")
    parser.add_argument("--work", type=Path, required=True, help="new folder for the runs")
    parser.add_argument("--kills", type=int, default=30, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--iterations", type=int, default=200, help="of the training")
    parser.add_argument("--workers", type=int, default=2, help="DATALOADER.NUM_WORKERS")
    args = parser.parse_args()
    overrides = ["SOLVER.MAX_ITER", str(args.iterations)]
    overrides += ["DATALOADER.NUM_WORKERS", str(args.workers)]
    tally = kill_many(args.work, args.datasets, args.kills, args.seed, overrides)
    print(json.dumps(vars(tally), indent=1))
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
