"""What several processes that train together must agree on."""

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from torch import nn

from ct_lesion.errors import ConfigError, UserError


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


def check_same_start(start_iter: int) -> None:
    """Check that all processes go on from one iteration.

    Raises:
        UserError: some do not see the checkpoint.
    """
    starts = comm.all_gather(start_iter)
    if len(set(starts)) > 1:
        raise UserError(
            f"The processes would go on from different iterations, {starts} in their order: "
            "OUTPUT_DIR must be a folder that all machines share."
        )
