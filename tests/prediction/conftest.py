"""A small scan in HU."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def hu() -> np.ndarray:
    """(6, 48, 64) int16: a body with two lungs, in which slices 2 and 3 have a dense region."""
    volume = np.full((6, 48, 64), -1000, np.int16)
    volume[:, 4:44, 4:60] = 40
    volume[:, 10:38, 8:28] = volume[:, 10:38, 36:56] = -850
    volume[2:4, 14:24, 12:22] = -300
    noise = np.random.default_rng(0).normal(0, 20, volume.shape)
    return (volume + noise).astype(np.int16)
