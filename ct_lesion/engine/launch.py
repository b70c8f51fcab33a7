"""Starts the processes of a run: one per GPU, or any number on a CPU.

Detectron2's ``launch`` starts them. This module adds what it lacks: processes that share the cores
of a CPU, processes started by torchrun or srun (see :mod:`ct_lesion.engine.rendezvous`), and a
single error message when a process fails, which ends all of them.
"""

import logging
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from detectron2 import engine
from detectron2.utils import comm
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from ct_lesion.errors import USER_ERROR, ConfigError, one_line

from .rendezvous import RankInfo, join_group, rank_from_environment

TIMEOUT = timedelta(minutes=30)  # for one process to wait for another, as in Detectron2
FAULT, INTERRUPTED = 1, 130  # exit codes

# Seconds by which a failing process delays its exit, so that the parent sees the root cause before
# the broken connections of its peers.
_EXIT_DELAY = 1.0

# Started processes import Detectron2 before ct_lesion can suppress torch's deprecation warnings.
_IMPORT_WARNING = "ignore::FutureWarning:torch.jit._script"


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = "auto",
    args: tuple = (),
    *,
    on_gpu: bool = True,
    advice: str = "",
) -> Any:
    """Run a function in several processes, like ``detectron2.engine.launch`` but also on a CPU.

    A process that was started by torchrun or srun joins its group instead of starting processes.

    Args:
        main_func: runs in each process as ``main_func(*args)``; both must be picklable.
        num_gpus_per_machine: number of processes on this machine.
        num_machines: number of machines.
        machine_rank: rank of this machine, from 0.
        dist_url: address of the first machine, e.g. "tcp://10.0.0.1:29500"; "auto" for one machine.
        args: arguments of ``main_func``.
        on_gpu: use one GPU per process where there are any; otherwise gloo on the CPU.
        advice: printed after a process was killed, e.g. how to resume.

    Returns:
        The result of ``main_func`` if it ran in this process, else ``None``.

    Raises:
        ConfigError: contradicting arguments, more processes than GPUs, or no connection.
        SystemExit: one of several processes failed; the error was printed and all were ended.
    """
    on_gpu = on_gpu and torch.cuda.is_available()
    world_size = num_gpus_per_machine * num_machines
    info = rank_from_environment(os.environ)
    if info and (world_size == 1 or info.starter == "torchrun"):
        if world_size > 1:
            info.refuse(
                f"{info.starter} already started {info.world_size} processes: remove --num-gpus "
                "and --num-machines."
            )
        return _run_joined(info, on_gpu, main_func, args)
    _check_numbers(num_gpus_per_machine, num_machines, machine_rank, dist_url, on_gpu)
    if world_size == 1:
        return main_func(*args)
    shape = (num_gpus_per_machine, num_machines, machine_rank, dist_url or "auto")
    with TemporaryDirectory(prefix="ct_lesion-") as folder:
        task = (main_func, args, Path(folder) / "failed")
        _start(shape, task, on_gpu, advice)
    return None


def _check_numbers(
    processes: int, machines: int, machine_rank: int, dist_url: str | None, on_gpu: bool
) -> None:
    if processes < 1 or machines < 1:
        raise ConfigError("--num-gpus and --num-machines must be 1 or more.")
    if not 0 <= machine_rank < machines:
        raise ConfigError(
            f"--machine-rank is {machine_rank}, expected 0 to {machines - 1} for {machines} "
            "machines (--num-machines)."
        )
    if machines > 1 and dist_url in (None, "auto"):
        raise ConfigError(
            "With several machines, set --dist-url to the first machine and a free port on it, "
            "e.g. tcp://10.0.0.1:29500."
        )
    if on_gpu and processes > torch.cuda.device_count():
        raise ConfigError(
            f"{processes} processes need {processes} GPUs, but there are "
            f"{torch.cuda.device_count()}. Lower --num-gpus (--processes in a prediction)."
        )


def _start(shape: tuple, task: tuple, on_gpu: bool, advice: str) -> None:
    """Start the processes of this machine and wait until all have ended.

    Raises:
        ConfigError: they cannot connect to each other.
        SystemExit: a process failed.
    """
    # torch would log a line for each process that it ends, beside our error message
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    others = set(multiprocessing.active_children())
    try:
        with _environment(on_gpu):
            engine.launch(_run, *shape, args=task, timeout=TIMEOUT)
    except ProcessRaisedException as error:  # raised before _run, which handles later errors
        cause = str(error).strip().splitlines()[-1].rstrip(".")
        raise ConfigError(
            f"The processes cannot connect at --dist-url {shape[-1]}: {cause}. Check the address, "
            "and that its port is free."
        ) from None
    except ProcessExitedException as error:
        if error.exit_code > 0:  # the process has printed its error
            sys.exit(error.exit_code)
        _report_killed(error, shape, advice)
        sys.exit(FAULT)
    finally:
        # Python would wait for them at exit, e.g. after Ctrl-C
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


@contextmanager
def _environment(on_gpu: bool) -> Iterator[None]:
    """Set the started processes' environment; without ``on_gpu`` hide GPUs, so gloo is used."""
    warnings = [os.environ.get("PYTHONWARNINGS", ""), _IMPORT_WARNING]
    changed = {"PYTHONWARNINGS": ",".join(filter(None, warnings))}
    if not on_gpu:
        changed["CUDA_VISIBLE_DEVICES"] = ""
    earlier = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in earlier.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def _report_killed(error: ProcessExitedException, shape: tuple, advice: str) -> None:
    processes, machines, machine_rank, _ = shape
    rank = machine_rank * processes + error.error_index
    _print_error(
        f"Error: process {rank} of {processes * machines} (the first is 0) was killed by "
        f"{error.signal_name}, so all were ended. If you did not kill it, the machine probably ran "
        f"out of memory: use fewer processes. {advice}"
    )


# ---- in each process ----------------------------------------------------------------------------
def share_cores(processes: int, reserved: int | None = None) -> None:
    """Limit torch to the reserved cores or an equal share, unless OMP_NUM_THREADS is set."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(reserved or max(torch.get_num_threads() // processes, 1))


def _run_joined(info: RankInfo, on_gpu: bool, main_func: Callable, args: tuple) -> Any:
    if not on_gpu:
        share_cores(info.local_world_size, info.cores)
    is_first = join_group(info, on_gpu, TIMEOUT)
    return _run_reporting_errors(main_func, args, is_first)


def _run(main_func: Callable, args: tuple, marker: Path) -> None:
    """Run ``main_func`` in a process that Detectron2's launch started and connected."""
    if not torch.cuda.is_available():
        share_cores(comm.get_local_size())
    with _ending_with_parent():
        _run_reporting_errors(main_func, args, lambda: _is_first(marker))


def _run_reporting_errors(main_func: Callable, args: tuple, is_first: Callable[[], bool]) -> Any:
    """Run ``main_func``; on an error, print it unless another process did, and end this process."""
    try:
        return main_func(*args)
    except KeyboardInterrupt:
        _end(INTERRUPTED, delay=0)
    except Exception as error:
        text, line = traceback.format_exc(), one_line(error)
        if line is not None:
            if is_first():
                _print_error(f"Error: {line}")
            _end(USER_ERROR)
        time.sleep(_EXIT_DELAY)
        if is_first():
            _print_error(f"Process {comm.get_rank()} of {comm.get_world_size()} failed:\n{text}")
        _end(FAULT)
    finally:  # not reached after _end, which does not return
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _ending_with_parent() -> Iterator[None]:
    """End this process when its parent has ended, even by ``kill -9``.

    torch makes the system send SIGINT when the parent ends, but processes that a script starts
    with ``&`` ignore SIGINT.
    """
    parent, done = multiprocessing.parent_process(), threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            if not parent.is_alive():
                _end(INTERRUPTED, delay=0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        # a thread that is still waiting when Python exits can abort the process
        done.set()
        watcher.join()


def _is_first(marker: Path) -> bool:
    """Whether this process is the first on its machine to call this function."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _print_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(exit_code: int, delay: float = _EXIT_DELAY) -> None:
    """End this process and its children, even if the process group is waiting for it."""
    time.sleep(delay)
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
