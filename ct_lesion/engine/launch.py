"""The processes of a run: one a GPU, or on a CPU as many as are asked for.

Detectron2's ``launch`` starts them. Here is what it leaves out: a CPU is shared, processes that
torchrun or srun have started join each other (see :mod:`ct_lesion.engine.rendezvous`), and when
one fails it says so once, and all end.
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

from .rendezvous import Place, join_group, place_from_environment

TIMEOUT = timedelta(minutes=30)  # that one process waits for another, as in Detectron2
FAULT, INTERRUPTED = 1, 130  # exit codes

# A process that loses another fails too, a moment later. Whoever fails ends only after this many
# seconds, so that those who look on see the cause end before its consequences.
_PATIENCE = 1.0

# They import Detectron2 before ct_lesion could keep it from warning of torch's future.
_IMPORT_WARNING = "ignore::FutureWarning:torch.jit._script"


def launch(
    main_func: Callable,
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = "auto",
    args: tuple = (),
    timeout: timedelta = TIMEOUT,
    *,
    on_gpu: bool = True,
    advice: str = "",
) -> Any:
    """As ``detectron2.engine.launch``, and ``main_func(*args)`` in as many processes without GPU.

    A single process that torchrun or srun have started among others joins these. ``main_func`` and
    its arguments must be such as can be pickled.

    Args:
        main_func: run in each process.
        num_gpus_per_machine: processes on this machine.
        num_machines: as many of them.
        machine_rank: of this one, from 0.
        dist_url: where the processes meet, e.g. "tcp://10.0.0.1:29500"; "auto" on one machine.
        args: of ``main_func``.
        timeout: that one process waits for another.
        on_gpu: a GPU a process, where there are any; otherwise gloo on the CPU.
        advice: printed when a process was killed: how to go on.

    Returns:
        What ``main_func`` returned, where it ran in this process and in no other that was started.

    Raises:
        ConfigError: numbers that do not agree, or more processes than GPUs.
        SystemExit: one of several processes failed; what happened was printed once, and all ended.
    """
    on_gpu = on_gpu and torch.cuda.is_available()
    world_size = num_gpus_per_machine * num_machines
    place = place_from_environment(os.environ)
    if place and (world_size == 1 or place.starter == "torchrun"):
        if world_size > 1:
            place.refuse(
                f"{place.starter} has started {place.world_size} processes already: leave out "
                "--num-gpus and --num-machines."
            )
        return _run_joined(place, on_gpu, main_func, args, timeout)
    _check_numbers(num_gpus_per_machine, num_machines, machine_rank, dist_url, on_gpu)
    if world_size == 1:
        return main_func(*args)
    shape = (num_gpus_per_machine, num_machines, machine_rank, dist_url or "auto")
    with TemporaryDirectory(prefix="ct_lesion-") as folder:
        task = (main_func, args, Path(folder) / "failed")
        _start(shape, task, timeout, on_gpu, advice)
    return None


def _check_numbers(
    processes: int, machines: int, machine_rank: int, dist_url: str | None, on_gpu: bool
) -> None:
    if processes < 1 or machines < 1:
        raise ConfigError("--num-gpus and --num-machines must be 1 or more.")
    if not 0 <= machine_rank < machines:
        raise ConfigError(
            f"--machine-rank is {machine_rank}, expected 0 to {machines - 1} of {machines} "
            "machines (--num-machines)."
        )
    if machines > 1 and dist_url in (None, "auto"):
        raise ConfigError(
            "With several machines --dist-url must name the first one and a free port of it, "
            "e.g. tcp://10.0.0.1:29500."
        )
    if on_gpu and processes > torch.cuda.device_count():
        raise ConfigError(
            f"{processes} processes are too many for {torch.cuda.device_count()} GPUs "
            "(--num-gpus; --processes in a prediction)."
        )


def _start(shape: tuple, task: tuple, timeout: timedelta, on_gpu: bool, advice: str) -> None:
    """Start the processes of this machine and see to their end.

    Raises:
        ConfigError: they do not find each other.
        SystemExit: one failed.
    """
    # its lines about the processes that it ends would stand beside ours
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    others = set(multiprocessing.active_children())
    try:
        with _environment(on_gpu):
            engine.launch(_run, *shape, args=task, timeout=timeout)
    except ProcessRaisedException as error:  # before it could run anything, which ends in _run
        raise ConfigError(
            f"The processes cannot meet at --dist-url {shape[-1]}: "
            f"{str(error).strip().splitlines()[-1]}"
        ) from None
    except ProcessExitedException as error:
        if error.exit_code > 0:  # it has said why
            sys.exit(error.exit_code)
        _report_killed(error, shape, advice)
        sys.exit(FAULT)
    finally:
        # also after Ctrl-C: Python would wait for them
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()


@contextmanager
def _environment(on_gpu: bool) -> Iterator[None]:
    """What processes that start meanwhile find: no GPU, unless each uses one, so they take gloo."""
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
    _say(
        f"Error: process {rank} of {processes * machines} (0 is the first) was ended by "
        f"{error.signal_name}, so the others were ended too. If it was not you, memory ran out, "
        f"most likely: fewer processes need less. {advice}"
    )


# ---- in each process ----------------------------------------------------------------------------
def share_cores(processes: int, own: int | None = None) -> None:
    """Set torch's threads: ``own``, or a share of the cores; ``OMP_NUM_THREADS`` is one already."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(own or max(torch.get_num_threads() // processes, 1))


def _run_joined(
    place: Place, on_gpu: bool, main_func: Callable, args: tuple, timeout: timedelta
) -> Any:
    if not on_gpu:
        share_cores(place.local_world_size, place.cores)
    is_first = join_group(place, on_gpu, timeout)
    return _run_to_the_end(main_func, args, is_first)


def _run(main_func: Callable, args: tuple, marker: Path) -> None:
    """What Detectron2 runs in each process once they have met."""
    if not torch.cuda.is_available():
        share_cores(comm.get_local_size())
    with _ending_with_parent():
        _run_to_the_end(main_func, args, lambda: _is_first(marker))


def _run_to_the_end(main_func: Callable, args: tuple, is_first: Callable[[], bool]) -> Any:
    """Run; if that fails, say why unless another process did, and end."""
    try:
        return main_func(*args)
    except KeyboardInterrupt:
        _end(INTERRUPTED, patience=0)
    except Exception as error:
        text, line = traceback.format_exc(), one_line(error)
        if line is not None:
            if is_first():
                _say(f"Error: {line}")
            _end(USER_ERROR)
        time.sleep(_PATIENCE)
        if is_first():
            _say(f"Process {comm.get_rank()} of {comm.get_world_size()} failed:\n{text}")
        _end(FAULT)
    finally:  # not after _end, which does not return
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def _ending_with_parent() -> Iterator[None]:
    """End this process when the command that started it has ended, by kill -9 too.

    torch lets the system send SIGINT then, which all ignore that a script started with ``&``.
    """
    parent, done = multiprocessing.parent_process(), threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            if not parent.is_alive():
                _end(INTERRUPTED, patience=0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        # a thread that still waits when Python ends can abort the process
        done.set()
        watcher.join()


def _is_first(marker: Path) -> bool:
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(exit_code: int, patience: float = _PATIENCE) -> None:
    """End this process, and its own, whatever the group of processes still waits for."""
    time.sleep(patience)
    for child in multiprocessing.active_children():
        child.terminate()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
