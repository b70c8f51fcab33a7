from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """Reads files in processes with little memory and time."""
    server = Sandbox(Path(__file__).parents[2])
    yield server
    server.close()
