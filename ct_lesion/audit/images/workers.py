"""Reads many files in several processes; a file that crashes its process affects no other file."""

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
    """Read files chunk by chunk and yield the results of each chunk; chunks may change order.

    If a file crashes its process, a new process continues with the next file.

    Args:
        read: reads a file; a module-level function, so that processes can import it. Its
            exceptions are raised here.
        chunks: paths of files.
        workers: number of processes; 1 reads in this process.
        crashed: makes the result for a file whose process died: the decoder crashed, or the
            system ran out of memory and killed it.
    """
    if workers <= 1 or not chunks:
        yield from (list(map(read, chunk)) for chunk in chunks)
        return
    context, waiting = _context(), deque(chunks)
    readers = [_Reader(context, read, crashed) for _ in range(min(workers, len(chunks)))]
    try:
        busy: list[_Reader] = []
        while waiting or busy:
            for reader in readers:
                if waiting and reader not in busy:
                    reader.take(waiting.popleft())
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
    # Forking this process can deadlock if torch runs threads in it. The fork server has no threads
    # and imports the libraries once for all readers.
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.facts"])
    return context


class _Reader:
    """A process that reads chunks, and is replaced when it dies.

    Each process has its own pipe. So a dying process cannot leave a lock behind that blocks the
    others, as with the shared queues of a pool, and the file that killed it is the first one
    without a result.
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
        theirs.close()  # otherwise the pipe stays open when the process ends

    @property
    def finished(self) -> bool:
        return len(self.results) == len(self._names)

    def take(self, names: Sequence[str]) -> None:
        self._names, self.results = names, []
        self._send()

    def _send(self) -> None:
        with suppress(OSError):  # the process has died: receive() handles that
            self.connection.send(self._names[len(self.results) :])

    def receive(self) -> None:
        """Take the next result, or raise the exception of ``read``."""
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
    """Receive chunks of files, read them and send the results, until the pipe is closed."""
    # threads of OpenCV would compete with the other processes
    cv2.setNumThreads(1)
    with suppress(EOFError, OSError):  # the parent has closed the pipe
        while True:
            for name in connection.recv():
                try:
                    result, error = read(name), None
                except Exception as raised:
                    result, error = None, raised
                connection.send((result, error))
