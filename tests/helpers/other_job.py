"""Another process that writes into an output folder."""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


@contextmanager
def holding(lock: AbstractContextManager) -> Iterator[int]:
    """Enter ``lock`` in another process, which is killed at the end; yields its number."""
    read, write = os.pipe()
    if not (child := os.fork()):
        try:
            with lock:
                os.write(write, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        assert os.read(read, 1) == b"x", "the other process could not take the lock"
        yield child
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
