"""What processes that work together must agree on."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from torch import nn

from ct_lesion.errors import ConfigError

T = TypeVar("T")


def scale_to_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """The config for so many processes: Detectron2's ``auto_scale_workers``, and a check.

    With ``SOLVER.REFERENCE_WORLD_SIZE`` above 0 batch and learning rate grow with the number of
    processes and iterations shrink; with 0 nothing changes.

    Raises:
        ConfigError: a batch that the processes cannot share equally.
    """
    reference, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if reference > 0 and batch % reference:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}, but must be a multiple of "
            f"SOLVER.REFERENCE_WORLD_SIZE, {reference}."
        )
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}, which {processes} processes (--num-gpus, "
            f"--num-machines) cannot share equally: make it a multiple of {processes}, and see "
            "docs/distributed.md for learning rate and iterations; or set "
            "SOLVER.REFERENCE_WORLD_SIZE 1, which gives each process so many and scales both."
        )
    return cfg


def share_statistics(model: nn.Module) -> None:
    """Give all processes the BatchNorm statistics of the first, whose are in the checkpoints.

    Each process keeps its own of the slices that it has seen, so that without this an evaluation
    in the middle of a training would be of several models, and none of them the saved one.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def from_main(function: Callable[[], T]) -> T:
    """What ``function`` gives in the main process, in all of them; they wait for it."""
    return comm.all_gather(function() if comm.is_main_process() else None)[0]


def share_of_this_process(items: Sequence[T]) -> Sequence[T]:
    """Every N-th of the items that N processes share, in their order."""
    return items[comm.get_rank() :: comm.get_world_size()]
