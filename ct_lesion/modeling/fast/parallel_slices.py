"""Runs the slices of a batch in parallel on a CPU, one slice per core.

A single slice cannot keep several cores busy: some steps run on one core, and in the many small
steps the threads wait for each other. Slices are independent.
"""

import copy
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch
from torch import nn


class ParallelSlices(nn.Module):
    """Wraps a model in test mode and spreads the slices of a batch over cores.

    Each core has its own copy of the model, because some layers reuse memory; weights are shared.
    """

    def __init__(self, model: nn.Module, cores: int) -> None:
        """
        Args:
            model: frozen; returns a list with one output per input.
            cores: number of cores to use; with 1 the slices run one after another.
        """
        super().__init__()
        self.model = model
        self._cores = cores
        # kept outside nn.Module's registry: the copies share the weights of self.model
        self._copies: queue.SimpleQueue[nn.Module] = queue.SimpleQueue()
        for _ in range(cores):
            self._copies.put(_copy_sharing_weights(model))
        self.eval()

    def forward(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """The outputs, in the order of the inputs.

        A single slice also runs on one core: several cores change the last digits, so results would
        depend on the batches, and thus on the number of processes.
        """
        return map_on_cores(self._one, batched_inputs, self._cores)

    def _one(self, item: dict) -> dict:
        model = self._copies.get()
        try:
            with torch.no_grad():  # a per-thread setting
                return model([item])[0]
        finally:
            self._copies.put(model)


def map_on_cores(function: Callable, items: Iterable, cores: int) -> list:
    """``[function(item) for item in items]`` in parallel, each call with one torch thread."""
    if cores == 1:
        return [function(item) for item in items]
    return list(_workers(cores).map(function, items))


def _copy_sharing_weights(model: nn.Module) -> nn.Module:
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(tensor): tensor for tensor in shared})


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Start a pool of threads, each limited to one core."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="slices", initializer=_use_one_core)
    started = threading.Barrier(count)
    list(pool.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(threads)  # _use_one_core also changed the default of new threads
    return pool


def _use_one_core() -> None:
    # torch copies the process's setting at a thread's first query, so query before setting
    torch.get_num_threads()
    torch.set_num_threads(1)


# threads do not survive a fork
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)
