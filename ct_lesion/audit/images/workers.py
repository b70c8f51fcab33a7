"""Reads many files in several processes and survives files that crash their reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import TypeVar

import cv2

Result = TypeVar("Result")


def map_chunks(
    read: Callable[[str], Result],
    chunks: Sequence[Sequence[str]],
    workers: int,
    crashed: Callable[[str], Result],
) -> Iterator[list[Result]]:
    """Read files chunk by chunk and yield the results of each chunk, in any order of chunks.

    A file that crashes its reader costs one process; a new one goes on with the next file.

    Args:
        read: reads a file; a module-level function, so that processes can import it. What it
            raises is raised here.
        chunks: paths of files.
        workers: number of processes; 1 reads in this process.
        crashed: gives the result for a file whose reader died: the decoder crashed, or the system
            killed it for lack of memory.
    """
    if workers <= 1 or not chunks:
        yield from (list(map(read, chunk)) for chunk in chunks)
        return
    context, left = _context(), deque(chunks)
    readers = [_Reader(context, read, crashed) for _ in range(min(workers, len(chunks)))]
    try:
        busy: list[_Reader] = []
        while left or busy:
            for reader in readers:
                if left and reader not in busy:
                    reader.take(left.popleft())
                    busy.append(reader)
            ready = wait([reader.connection for reader in busy])
            for reader in [r for r in busy if r.connection in ready]:
                reader.receive()
                if reader.finished:
                    busy.remove(reader)
                    yield reader.results
    finally:
        for reader in readers:
            reader.end()


def _context() -> BaseContext:
    # Forking this process, which may run torch's threads, can deadlock. The fork server has no
    # threads and imports the libraries once for all readers.
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.facts"])
    return context


class _Reader:
    """A process that reads one chunk after another; the next process goes on where one dies.

    Each has a pipe of its own, so a process that dies leaves no lock behind that others wait for
    (a pool's queues have such locks), and the file it died of is the first without a result.
    """

    def __init__(
        self,
        context: BaseContext,
        read: Callable[[str], Result],
        crashed: Callable[[str], Result],
    ) -> None:
        self._context, self._read, self._crashed = context, read, crashed
        self._names: Sequence[str] = ()
        self.results: list[Result] = []
        self._start()

    def _start(self) -> None:
        self.connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=_read_all, args=(theirs, self._read), daemon=True
        )
        self._process.start()
        theirs.close()  # or the end of the process would not end the pipe

    @property
    def finished(self) -> bool:
        return len(self.results) == len(self._names)

    def take(self, names: Sequence[str]) -> None:
        self._names, self.results = names, []
        self._send()

    def _send(self) -> None:
        with suppress(OSError):  # it has died already: receive() says so
            self.connection.send(self._names[len(self.results) :])

    def receive(self) -> None:
        """Take the next result; raises what ``read`` raised."""
        try:
            result, error = self.connection.recv()
        except (EOFError, OSError):
            result, error = self._crashed(self._names[len(self.results)]), None
            self.end()
            self._start()
            self.results.append(result)
            if not self.finished:
                self._send()
            return
        if error:
            raise error
        self.results.append(result)

    def end(self) -> None:
        self.connection.close()
        self._process.kill()
        self._process.join()


def _read_all(connection: Connection, read: Callable[[str], Result]) -> None:
    """Read the files of each chunk that comes and send their results, until the pipe is closed."""
    # OpenCV's threads would compete for the cores
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # the other side has ended
        while True:
            for name in connection.recv():
                try:
                    result, error = read(name), None
                except Exception as raised:
                    result, error = None, raised
                connection.send((result, error))
