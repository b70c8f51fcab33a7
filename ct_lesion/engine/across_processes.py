"""Helpers for jobs of several processes: the batch, shared results, and the folder's lock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from torch import nn

from ct_lesion.errors import ConfigError
from ct_lesion.files import locked_folder

T = TypeVar("T")


def scale_to_processes(cfg: CfgNode, processes: int) -> CfgNode:
    """Apply Detectron2's ``auto_scale_workers`` and check the result.

    With ``SOLVER.REFERENCE_WORLD_SIZE`` above 0, batch size and learning rate grow with the number
    of processes and the number of iterations shrinks. With 0 nothing changes.

    Raises:
        ConfigError: the processes cannot share the batch equally.
    """
    reference, batch = cfg.SOLVER.REFERENCE_WORLD_SIZE, cfg.SOLVER.IMS_PER_BATCH
    if reference > 0 and batch % reference:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}, expected a multiple of "
            f"SOLVER.REFERENCE_WORLD_SIZE, {reference}. Change either key."
        )
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)
    if cfg.SOLVER.IMS_PER_BATCH % processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH is {batch}, which {processes} processes (--num-gpus, "
            f"--num-machines) cannot share equally. Use a multiple of {processes} and adapt "
            "learning rate and iterations (docs/distributed.md), or set "
            f"SOLVER.REFERENCE_WORLD_SIZE 1, which gives each process {batch} slices and adapts "
            "both."
        )
    return cfg


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside a wrapper for distributed training, or the model itself."""
    return getattr(model, "module", model)


def share_statistics(model: nn.Module) -> None:
    """Broadcast rank 0's BatchNorm buffers, because checkpoints store those of rank 0.

    Each process updates its buffers from its own slices. Without the broadcast, the processes of
    an evaluation during training would each evaluate a different model.
    """
    if comm.get_world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def from_main(function: Callable[[], T]) -> T:
    """Call ``function`` in the main process only, and return its result in every process."""
    return comm.all_gather(function() if comm.is_main_process() else None)[0]


@contextmanager
def locked_by_all(folder: Path) -> Iterator[None]:
    """Hold :func:`ct_lesion.files.locked_folder` in the main process, on behalf of all processes.

    Raises:
        UserError: another job is writing into the folder; raised in the main process.
    """
    with ExitStack() as stack:
        from_main(lambda: stack.enter_context(locked_folder(folder)))
        yield


def share_of_this_process(items: Sequence[T]) -> Sequence[T]:
    """Every N-th item, starting at this process's rank, for N processes."""
    return items[comm.get_rank() :: comm.get_world_size()]
