"""Random numbers that depend on their purpose, not on earlier draws.

The generators are reseeded for each slice and each training step. A resumed run therefore draws the
same numbers as an uninterrupted one, whichever process reads a slice, and a checkpoint stores only
the seed.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch
from detectron2.utils import comm


def derived_seed(*parts: int | str) -> int:
    """A 63-bit seed from e.g. ``(run's seed, "slice", position)``; the same on any machine."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's CPU generators within the block; restore them after it."""
    with untouched_random_state():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """Restore the state of Python's, NumPy's and torch's CPU generators after the block."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)


def seed_step(seed: int, iteration: int) -> None:
    """Seed all random generators of this process for a training step.

    The draws of a step then depend only on seed, iteration and rank, so a checkpoint needs no
    generator states.
    """
    value = derived_seed(seed, "step", iteration, comm.get_rank())
    random.seed(value)
    np.random.seed(value % 2**32)
    # torch.manual_seed would also queue a call, with a stack trace, for GPUs that are not in use
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
