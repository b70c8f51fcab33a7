"""Random numbers that depend on what they are for, not on what was drawn before.

Each slice of a training and each of its steps starts the generators at a seed of its own. So a run
that was killed draws what it would have drawn, whichever process reads the slice, and a checkpoint
needs to hold one number.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

import numpy as np
import torch


def derived_seed(*parts: int | str) -> int:
    """A seed of 63 bits, e.g. of ``(seed of the run, "slice", place)``; the same on any machine."""
    digest = blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's CPU generators start at ``seed``; afterwards, as they were."""
    with untouched_random_state():
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def untouched_random_state() -> Iterator[None]:
    """What is drawn inside from Python's, NumPy's and torch's CPU generators does not count."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.default_generator.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)
