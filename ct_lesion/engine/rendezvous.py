"""Processes that torchrun or SLURM's srun have started: finding the others, and joining them."""

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
# The variables of a step, which srun sets: a batch script has SLURM_NTASKS as well, but is alone.
_SRUN = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE")


@dataclass(frozen=True)
class Place:
    """Of this process among those that were started together.

    Attributes:
        starter: "torchrun" or "srun".
        rank: of the process, from 0.
        world_size: number of processes, at least 2.
        local_rank: of the process on its machine.
        local_world_size: processes a machine.
        cores: of this process, if it has cores of its own.
    """

    starter: str
    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    cores: int | None = None

    def refuse(self, message: str) -> NoReturn:
        """End for a reason that each of the processes sees; the first of them says it.

        Raises:
            ConfigError: in the first process.
            SystemExit: in the others.
        """
        if self.rank > 0:
            sys.exit(USER_ERROR)
        raise ConfigError(message)


def place_from_environment(environment: Mapping[str, str]) -> Place | None:
    """What the variables of torchrun or srun say; ``None`` if this process was started alone.

    Raises:
        ConfigError: srun started unlike numbers of processes on its machines.
    """
    if all(key in environment for key in _TORCHRUN):
        rank, world_size, local_rank, local_size = (int(environment[key]) for key in _TORCHRUN)
        place = Place("torchrun", rank, world_size, local_rank, local_size)
    elif all(key in environment for key in _SRUN):
        rank, world_size, local_rank = (int(environment[key]) for key in _SRUN[:3])
        local_size = _tasks_per_node(environment[_SRUN[3]])
        cores = environment.get("SLURM_CPUS_PER_TASK")
        place = Place("srun", rank, world_size, local_rank, local_size, cores and int(cores))
    else:
        return None
    return place if place.world_size > 1 else None


def _tasks_per_node(text: str) -> int:
    """From SLURM's way to write it: "4" on one node, "4(x2)" on two."""
    uniform = re.fullmatch(r"(\d+)(\(x\d+\))?", text)
    if not uniform:
        raise ConfigError(
            f"srun started unlike numbers of processes on its nodes ({text}): give it "
            "--ntasks-per-node."
        )
    return int(uniform[1])


def join_group(place: Place, on_gpu: bool, timeout: timedelta) -> Callable[[], bool]:
    """Join the other processes.

    Args:
        place: of this process.
        on_gpu: NCCL and a GPU, in place of gloo.
        timeout: that one process waits for another.

    Returns:
        A function that is true in the first process that calls it.

    Raises:
        ConfigError: it is not known where they meet, or they do not.
    """
    address = _meeting_point(place)
    try:
        store, _, _ = next(
            rendezvous(address, rank=place.rank, world_size=place.world_size, timeout=timeout)
        )
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=dist.PrefixStore("ct_lesion", store),
            rank=place.rank,
            world_size=place.world_size,
            timeout=timeout,
        )
    except (RuntimeError, ValueError) as error:  # no such host, port in use, nobody else came
        raise ConfigError(
            f"The {place.world_size} processes cannot meet at {address} (MASTER_ADDR and "
            f"MASTER_PORT): {reason(error)}"
        ) from None
    comm.create_local_process_group(place.local_world_size)
    if on_gpu:
        # srun may show each process its own GPU only
        torch.cuda.set_device(place.local_rank % torch.cuda.device_count())
    comm.synchronize()
    return lambda: _is_first(store, place.rank)


def _meeting_point(place: Place) -> str:
    several = place.world_size > place.local_world_size
    host = os.environ.get("MASTER_ADDR", "" if several else "127.0.0.1")
    if not host:
        place.refuse(
            "srun started processes on several nodes: MASTER_ADDR must name the first, e.g. export "
            'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1).'
        )
    # as good as any, and not that of another job on the same node
    usual = 20_000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20_000
    return f"tcp://{host}:{os.environ.get('MASTER_PORT', usual)}"


def _is_first(store: dist.Store, rank: int) -> bool:
    try:
        return store.compare_set("ct_lesion/first", "", str(rank)).decode() == str(rank)
    except RuntimeError:  # whoever kept the store is gone, and may not have said anything
        return True
