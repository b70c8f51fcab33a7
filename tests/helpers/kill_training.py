#!/usr/bin/env python3
"""Kill a real training many times, resume it each time, and compare it with one left alone.

    python tests/helpers/kill_training.py DATASETS --kills 30 --work /tmp/kills

DATASETS is a $DETECTRON2_DATASETS with the toy or phantom lesions prepared in it. Each process is
killed with SIGKILL at a random moment, most of them in training, where a checkpoint is written
after every iteration, and the next one resumes in the same folder. Exits with 1 if anything
differs.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ct_lesion.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
KEYS = ["MODEL.DEVICE", "cpu", "MODEL.FPN.OUT_CHANNELS", "16", "INPUT.MIN_SIZE_TRAIN", "[64]"]
KEYS += ["MODEL.RPN.POST_NMS_TOPK_TRAIN", "50", "MODEL.RPN.POST_NMS_TOPK_TEST", "20"]
KEYS += ["INPUT.MIN_SIZE_TEST", "64", "TEST.EVAL_PERIOD", "20", "SOLVER.CHECKPOINT_PERIOD", "1"]
KEYS += [
    "SOLVER.IMS_PER_BATCH",
    "2",
    "SOLVER.BASE_LR",
    "1e-3",
    "INPUT.ROTATION",
    "15.0",
    "SEED",
    "3",
]
STARTED = re.compile(r"Starting training from iteration (\d+)")


@dataclass
class Tally:
    """What happened; ``faults`` is empty if all went well."""

    killed_before_training: int = 0
    killed_in_training: int = 0
    killed_while_writing: int = 0
    resumed_from: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Training:
    """One process of the training tool."""

    def __init__(self, folder: Path, datasets: Path, keys: list[str]) -> None:
        self.log = folder.with_suffix(".log")
        command = [sys.executable, "-W", "ignore", str(REPOSITORY / "tools/train_net.py")]
        command += ["--config-file", "segmentation/resnet18_t2.yaml", "--resume", *KEYS, *keys]
        environment = {"PYTHONPATH": str(REPOSITORY), "DETECTRON2_DATASETS": str(datasets)}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, "OUTPUT_DIR", str(folder)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )

    def started(self) -> int | None:
        """The iteration that it started from, if it has."""
        found = STARTED.search(self.log.read_text(errors="replace"))
        return int(found[1]) if found else None

    def wait_for_start(self) -> int | None:
        while self.process.poll() is None and self.started() is None:
            time.sleep(0.01)
        return self.started()

    def wait_for_progress(self, folder: Path) -> None:
        """Until it has written a checkpoint."""
        began = time.time()
        tag = folder / "last_checkpoint"
        while self.process.poll() is None:
            if tag.is_file() and tag.stat().st_mtime >= began:
                return
            time.sleep(0.005)

    def kill(self) -> bool:
        """Whether it was still running."""
        running = self.process.poll() is None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return running


def tagged_iteration(folder: Path) -> int:
    """Of the checkpoint that a resumed run must go on from; -1 if there is none."""
    tag = folder / "last_checkpoint"
    if not tag.is_file():
        return -1
    return int(read_checkpoint(folder / tag.read_text()).rest["trainer"]["iteration"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(folder / "model_final.safetensors").model


def metrics(folder: Path) -> list[dict]:
    """Lines of metrics.json, without what a clock measured."""
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    timed = ("time", "eta", "data_time", "rank_data_time")
    return [{k: v for k, v in line.items() if not k.startswith(timed)} for line in lines]


def kill_many(
    work: Path, datasets: Path, kills: int, seed: int, keys: list[str], longest: float = 1.0
) -> Tally:
    """Kill and resume one training until it has been killed so many times, then let it finish.

    Args:
        work: folder for the runs, one of them left alone.
        datasets: ``$DETECTRON2_DATASETS``.
        kills: number of them.
        seed: of the moments.
        keys: further overrides; ``SOLVER.MAX_ITER`` must be enough for so many kills.
        longest: seconds that a process may train before it is killed.
    """
    work.mkdir(parents=True, exist_ok=True)
    moments, tally = random.Random(seed), Tally()
    alone, killed = work / "alone", work / "killed"
    training = Training(alone, datasets, keys)
    if training.process.wait() != 0:
        tally.faults.append(f"the run left alone failed: {training.log}")
        return tally
    while True:
        last = tally.killed_before_training + tally.killed_in_training >= kills
        expected = tagged_iteration(killed) + 1
        training = Training(killed, datasets, keys)
        if not last and moments.random() < 0.1:
            time.sleep(moments.uniform(0, 4))
        else:
            start = training.wait_for_start()
            if start != expected:
                tally.faults.append(f"started from {start}, not {expected}")
                training.kill()
                return tally
            tally.resumed_from.append(start)
            if not last:
                if moments.random() < 0.8:
                    training.wait_for_progress(killed)
                time.sleep(moments.uniform(0, longest))
        if last:
            training.process.wait()
        elif training.kill():
            in_training = training.started() is not None
            tally.killed_in_training += in_training
            tally.killed_before_training += not in_training
            tally.killed_while_writing += bool(list(killed.glob(".*.partial")))
            continue
        if training.process.returncode != 0:
            tally.faults.append(f"a process failed: {training.log}")
            return tally
        break
    _compare(alone, killed, tally)
    return tally


def _compare(alone: Path, killed: Path, tally: Tally) -> None:
    expected, actual = weights(alone), weights(killed)
    differing = [n for n, tensor in expected.items() if not torch.equal(actual[n], tensor)]
    if differing:
        tally.faults.append(f"{len(differing)} of {len(expected)} tensors differ")
    if metrics(alone) != metrics(killed):
        tally.faults.append("metrics.json differs")
    if list(killed.glob(".*")):
        tally.faults.append("temporary files are left")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("datasets", type=Path, help="$DETECTRON2_DATASETS")
    parser.add_argument("--work", type=Path, required=True, help="new folder for the runs")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=200, help="of the training")
    parser.add_argument("--workers", type=int, default=2, help="DATALOADER.NUM_WORKERS")
    args = parser.parse_args()
    keys = ["SOLVER.MAX_ITER", str(args.iterations), "DATALOADER.NUM_WORKERS", str(args.workers)]
    tally = kill_many(args.work, args.datasets, args.kills, args.seed, keys)
    print(json.dumps(vars(tally), indent=1))
    sys.exit(1 if tally.faults else 0)


if __name__ == "__main__":
    main()
