"""The seed of a run: of its order of slices, of augmentation and of what the model draws."""

import os
import random
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.utils import comm

from ct_lesion.data.loading.seeding import derived_seed
from ct_lesion.errors import ConfigError
from ct_lesion.json_files import read_json

from .run_record import TRAINING_RECORD


def choose_seed(cfg: CfgNode, resume: bool = False) -> int:
    """``SEED``, or where it is not set, that of the run to resume, or a new one.

    The same in all processes.
    """
    if cfg.SEED >= 0:
        return cfg.SEED
    earlier = recorded(cfg.OUTPUT_DIR).get("seed") if resume else None
    seed = int.from_bytes(os.urandom(4), "big") >> 1 if earlier is None else int(earlier)
    return comm.all_gather(seed)[0]


def recorded(folder: str | Path) -> dict:
    """What ``training.json`` in a run's folder says; nothing if there is none.

    Raises:
        ConfigError: it is damaged.
    """
    path = Path(folder) / TRAINING_RECORD
    advice = "Remove it: the run then goes on under a new name."
    return read_json(path, dict, ConfigError, advice) if path.is_file() else {}


def seed_step(seed: int, iteration: int) -> None:
    """Start all generators of this process for a training step.

    What a step draws then depends on seed, iteration and process alone, so that a resumed run
    needs nothing of the past.
    """
    value = derived_seed(seed, "step", iteration, comm.get_rank())
    random.seed(value)
    np.random.seed(value % 2**32)
    # not torch.manual_seed, which formats a stack trace for GPUs that are not in use
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)


def use_deterministic_algorithms() -> None:
    """Ask torch and its libraries for the same result each time, at the cost of speed.

    Where torch has no such algorithm on a GPU, it warns and takes the other one.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
