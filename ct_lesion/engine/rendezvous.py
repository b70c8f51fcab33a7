"""Joins processes that torchrun or SLURM's srun started into a process group."""

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch.distributed.rendezvous import rendezvous

from ct_lesion.errors import USER_ERROR, ConfigError, reason

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# srun sets these for a job step; SLURM_NTASKS is also set in a batch script without srun
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")


@dataclass(frozen=True)
class RankInfo:
    """The rank of this process among those that were started together.

    Attributes:
        starter: "torchrun" or "srun".
        rank: rank of the process, from 0.
        world_size: number of processes, at least 2.
        local_rank: rank on this machine, from 0.
        local_world_size: number of processes on each machine.
        cores: number of CPU cores reserved for this process, if any.
    """

    starter: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    cores: int | None = None

    def refuse(self, message: str) -> NoReturn:
        """Fail with an error that every process detects and only rank 0 reports.

        Raises:
            ConfigError: on rank 0.
            SystemExit: on the other ranks.
        """
        if self.rank > 0:
            sys.exit(USER_ERROR)
        raise ConfigError(message)


def rank_from_environment(environment: Mapping[str, str]) -> RankInfo | None:
    """Read the variables of torchrun or srun; ``None`` if this process was started alone.

    Raises:
        ConfigError: srun started different numbers of processes on its nodes.
    """
    if all(key in environment for key in _TORCHRUN):
        rank, world_size, local_rank, local_size = (int(environment[key]) for key in _TORCHRUN)
        info = RankInfo("torchrun", rank, world_size, local_rank, local_size)
    elif all(key in environment for key in _SRUN):
        rank, world_size, local_rank = (int(environment[key]) for key in _SRUN[:3])
        local_size = _tasks_per_node(environment[_SRUN[3]])
        cores = environment.get("SLURM_CPUS_PER_TASK")
        info = RankInfo("srun", rank, world_size, local_rank, local_size, cores and int(cores))
    else:
        return None
    return info if info.world_size > 1 else None


def _tasks_per_node(text: str) -> int:
    """Parse SLURM's notation: "4" for one node, "4(x2)" for two."""
    uniform = re.fullmatch(r"(\d+)(\(x\d+\))?", text)
    if not uniform:
        raise ConfigError(
            f"srun started different numbers of processes on its nodes ({text}): set "
            "--ntasks-per-node."
        )
    return int(uniform[1])


def join_group(info: RankInfo, on_gpu: bool, timeout: timedelta) -> Callable[[], bool]:
    """Initialise the process group.

    Args:
        info: rank information of this process.
        on_gpu: use NCCL and one GPU per process instead of gloo.
        timeout: how long one process may wait for another.

    Returns:
        A function that returns True only in the first process that calls it.

    Raises:
        ConfigError: MASTER_ADDR is missing, or the processes cannot connect.
    """
    address = _master_address(info)
    try:
        store, _, _ = next(
            rendezvous(address, rank=info.rank, world_size=info.world_size, timeout=timeout)
        )
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=dist.PrefixStore("ct_lesion", store),
            rank=info.rank,
            world_size=info.world_size,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:  # unknown host, port in use, timeout
        raise ConfigError(
            f"The {info.world_size} processes cannot connect to {address}: {reason(error)}. Check "
            "MASTER_ADDR and MASTER_PORT, and that the port is free."
        ) from None
    comm.create_local_process_group(info.local_world_size)
    if on_gpu:
        # under srun, a process may see only its own GPU
        torch.cuda.set_device(info.local_rank % torch.cuda.device_count())
    comm.synchronize()
    return lambda: _is_first(store, info.rank)


def _master_address(info: RankInfo) -> str:
    several = info.world_size > info.local_world_size
    host = os.environ.get("MASTER_ADDR", "" if several else "127.0.0.1")
    if not host:
        info.refuse(
            "srun started processes on several nodes: set MASTER_ADDR to the first, e.g. export "
            'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1).'
        )
    # derived from the job, so that two jobs on a node use different ports
    default = 20_000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20_000
    return f"tcp://{host}:{os.environ.get('MASTER_PORT', default)}"


def _is_first(store: dist.Store, rank: int) -> bool:
    try:
        return store.compare_set("ct_lesion/first", "", str(rank)).decode() == str(rank)
    except RuntimeError:  # the process that held the store is gone, possibly without a report
        return True
