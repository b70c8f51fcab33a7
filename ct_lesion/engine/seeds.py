"""The seed of a run, from which slice order, augmentation and the model's draws follow."""

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
    """``SEED``; if it is negative, the seed of the run to resume, or else a new random one.

    Returns:
        The same seed in all processes.
    """
    if cfg.SEED >= 0:
        return cfg.SEED
    earlier = recorded(cfg.OUTPUT_DIR).get("seed") if resume else None
    seed = int.from_bytes(os.urandom(4), "big") >> 1 if earlier is None else int(earlier)
    return comm.all_gather(seed)[0]


def recorded(folder: str | Path) -> dict:
    """Content of ``training.json`` in a run's folder; empty if there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    path = Path(folder) / TRAINING_RECORD
    advice = "Remove it: the run then goes on under a new name."
    return read_json(path, dict, ConfigError, advice) if path.is_file() else {}


def seed_step(seed: int, iteration: int) -> None:
    """Seed all random generators of this process for a training step.

    The draws of a step then depend only on seed, iteration and process, so that a checkpoint needs
    no generator states.
    """
    value = derived_seed(seed, "step", iteration, comm.get_rank())
    random.seed(value)
    np.random.seed(value % 2**32)
    # torch.manual_seed would format a stack trace for GPUs that are not in use
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)


def use_deterministic_algorithms() -> None:
    """Make torch, cuDNN and cuBLAS use deterministic algorithms, which are slower.

    For an operation without one, torch warns and uses the nondeterministic algorithm.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
