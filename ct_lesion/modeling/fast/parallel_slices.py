"""The slices of a batch on all cores of a CPU at once, a slice a core.

One slice cannot keep several cores busy: some of its steps run on one, and at each of the many
small ones the threads wait for each other. Slices are independent, so they need not.
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
    """A model in test mode, called as before; batches of several slices pass on several cores.

    Each core has a copy of the model, since parts of it keep memory that they use again.
    """

    def __init__(self, model: nn.Module, cores: int) -> None:
        """
        Args:
            model: gives a list with an output an input; it learns no more.
            cores: that may be used; with one, a slice passes after the other.
        """
        super().__init__()
        self.model = model
        self._cores = cores
        # not modules of this one: their weights are the model's
        self._copies: queue.SimpleQueue[nn.Module] = queue.SimpleQueue()
        for _ in range(cores):
            self._copies.put(_copy_sharing_weights(model))
        self.eval()

    def forward(self, batched_inputs: Sequence[dict]) -> list[dict]:
        """Outputs in the order of the inputs.

        One slice alone keeps to one core as well: on several its last digits would be others, and
        results would depend on which slices come together, and so on the number of processes.
        """
        return map_on_cores(self._one, batched_inputs, self._cores)

    def _one(self, item: dict) -> dict:
        model = self._copies.get()
        try:
            with torch.no_grad():  # a setting of each thread
                return model([item])[0]
        finally:
            self._copies.put(model)


def map_on_cores(function: Callable, items: Iterable, cores: int) -> list:
    """``[function(item) for item in items]``, several at a time, each with one thread of torch."""
    if cores == 1:
        return [function(item) for item in items]
    return list(_workers(cores).map(function, items))


def _copy_sharing_weights(model: nn.Module) -> nn.Module:
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, memo={id(tensor): tensor for tensor in shared})


@cache
def _workers(count: int) -> ThreadPoolExecutor:
    """Threads that use one core each, all of them started."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, thread_name_prefix="slices", initializer=_use_one_core)
    started = threading.Barrier(count)
    list(pool.map(lambda _: started.wait(), range(count)))
    torch.set_num_threads(threads)  # what new threads start with was changed as well
    return pool


def _use_one_core() -> None:
    # a thread takes the number of threads from the process when it asks for it first, which would
    # undo a setting from before
    torch.get_num_threads()
    torch.set_num_threads(1)


# a forked process has none of its parent's threads
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)
