"""Reads many files in several processes and survives files that crash their reader."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_all_start_methods, get_context
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

    Args:
        read: reads a file; a module-level function, so that processes can import it.
        chunks: paths of files.
        workers: number of processes; 1 reads in this process.
        crashed: gives the result for a file whose reader died: the decoder crashed, or the system
            killed it for lack of memory.
    """
    if workers <= 1 or not chunks:
        yield from (list(map(read, chunk)) for chunk in chunks)
        return
    left = list(chunks)
    while left:
        finished: set[int] = set()
        with _pool(workers) as pool:
            futures = {pool.submit(_read_chunk, read, c): n for n, c in enumerate(left)}
            for number, result in _results(futures):
                finished.add(number)
                yield result
        left = [chunk for number, chunk in enumerate(left) if number not in finished]
        # Chunks are left only if a process died. The pool hands them out in order, a few ahead of
        # time, so the chunk that killed its reader is among the first of these.
        suspects, left = left[: 2 * workers + 2], left[2 * workers + 2 :]
        if suspects:
            yield _read_one_by_one(read, [name for chunk in suspects for name in chunk], crashed)


def _pool(workers: int) -> ProcessPoolExecutor:
    # one thread for each worker: OpenCV's threads would compete for the cores
    options = {"initializer": cv2.setNumThreads, "initargs": (1,)}
    # Forking this process, which may run torch's threads, can deadlock. The fork server has no
    # threads and imports the libraries once for all workers.
    if "forkserver" not in get_all_start_methods():
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **options)
    context = get_context("forkserver")
    context.set_forkserver_preload([f"{__package__}.facts"])
    return ProcessPoolExecutor(workers, mp_context=context, **options)


def _read_chunk(read: Callable[[str], Result], chunk: Sequence[str]) -> list[Result]:
    return list(map(read, chunk))


def _results(futures: dict[Future, int]) -> Iterator[tuple[int, list]]:
    """Results in order of completion; those lost with a dead process are missing."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
        for future in done:
            if not isinstance(future.exception(), BrokenProcessPool):
                yield futures[future], future.result()


def _read_one_by_one(
    read: Callable[[str], Result], names: Sequence[str], crashed: Callable[[str], Result]
) -> list[Result]:
    """Results of all files; each crash costs one process and the result of one file."""
    results: list[Result] = []
    while len(results) < len(names):
        with _pool(1) as pool:
            rest = names[len(results) :]
            for name, future in zip(rest, map(partial(pool.submit, read), rest), strict=True):
                try:
                    results.append(future.result())
                except BrokenProcessPool:
                    results.append(crashed(name))
                    break
    return results
