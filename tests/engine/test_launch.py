"""Starting and joining processes, and ending all of them when one fails."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launched import wait_for_each_other, write_ranks

from ct_lesion.engine.launch import launch
from ct_lesion.engine.rendezvous import RankInfo, rank_from_environment
from ct_lesion.errors import ConfigError

SCRIPT = Path(__file__).parents[1] / "helpers" / "launched.py"
TORCHRUN = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4"}
SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)",
}


def start(*arguments: object, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_ended(folder: Path, processes: int = 2) -> None:
    """Wait until the processes that wrote their ids have ended."""
    pids = [int((folder / f"pid{rank}").read_text()) for rank in range(processes)]
    until = time.monotonic() + 60
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(map(is_running, pids))


# ---- a process fails ----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("reason", "exit_code", "messages"),
    [
        ("mistake", 2, ["Error: KEY is wrong\n"]),
        ("bug", 1, ["Process 1 of 2 failed", "Traceback", "AssertionError: a bug"]),
    ],
)
def test_a_failing_process_ends_all_and_is_reported_once(
    tmp_path, capfd, reason, exit_code, messages
):
    """A killed process is tested in tests/tools/test_train_net_processes.py."""
    with pytest.raises(SystemExit) as ended:
        launch(wait_for_each_other, 2, args=(reason, tmp_path), on_gpu=False)
    assert ended.value.code == exit_code
    error = capfd.readouterr().err
    for part in messages:
        assert error.count(part) == 1, error
    assert reason == "bug" or error.count("\n") == 1, error
    assert_ended(tmp_path)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_killing_the_command_ends_its_processes(tmp_path, handler):
    options = json.dumps({"num_gpus_per_machine": 2})
    earlier = signal.signal(signal.SIGINT, handler)  # a script's "&" ignores it
    try:
        command = start(SCRIPT, "wait_for_each_other", tmp_path, options)
    finally:
        signal.signal(signal.SIGINT, earlier)
    with command:
        until = time.monotonic() + 120
        while not all((tmp_path / f"pid{rank}").is_file() for rank in (0, 1)):
            assert time.monotonic() < until, command.communicate(timeout=10)
            time.sleep(0.05)
        command.send_signal(signal.SIGKILL)
    assert_ended(tmp_path)


# ---- numbers of processes -----------------------------------------------------------------------
def test_a_single_process_is_not_started(monkeypatch):
    assert launch(os.getpid, 1, on_gpu=False) == os.getpid()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_gpus_per_machine": 0}, "--num-gpus and --num-machines must be 1 or more"),
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank is 2, expected 0 to 1"),
        ({"num_machines": 2}, "set --dist-url to the first machine"),
    ],
)
def test_contradicting_numbers_are_refused(numbers, message):
    with pytest.raises(ConfigError, match=message):
        launch(os.getpid, **{"num_gpus_per_machine": 1, **numbers}, on_gpu=False)


def test_a_process_that_cannot_connect():
    with pytest.raises(ConfigError, match=r"cannot connect at --dist-url nothing://here: .+"):
        launch(os.getpid, 1, num_machines=2, dist_url="nothing://here", on_gpu=False)


# ---- several machines, torchrun, srun -----------------------------------------------------------
def test_ranks_from_the_environment():
    assert rank_from_environment({}) is None
    assert rank_from_environment(TORCHRUN) == RankInfo("torchrun", 5, 8, 1, 4)
    assert rank_from_environment(SRUN) == RankInfo("srun", 5, 8, 1, 4)
    reserved_cores = {**SRUN, "SLURM_CPUS_PER_TASK": "6"}
    assert rank_from_environment(reserved_cores) == RankInfo("srun", 5, 8, 1, 4, cores=6)


def test_a_process_started_alone_has_no_rank():
    batch_script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}
    assert rank_from_environment(batch_script) is None
    alone = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
    assert rank_from_environment({**batch_script, **alone}) is None


def test_different_numbers_per_node_are_refused():
    with pytest.raises(ConfigError, match=r"2,1.*--ntasks-per-node"):
        rank_from_environment({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "2,1"})


def test_processes_of_torchrun_start_no_others(monkeypatch):
    for key, value in {**TORCHRUN, "RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match="torchrun already started 8 processes"):
        launch(os.getpid, 2, on_gpu=False)
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit):  # rank 0 has printed the error
        launch(os.getpid, 2, on_gpu=False)


def test_srun_on_several_nodes_needs_an_address(monkeypatch):
    for key, value in {**SRUN, "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ConfigError, match="set MASTER_ADDR to the first"):
        launch(os.getpid, 1, on_gpu=False)


def test_two_machines_and_two_tasks_of_srun(tmp_path):
    """Both on this machine: two machines of one process each, and two processes of srun."""
    url = f"tcp://127.0.0.1:{free_port()}"
    (tmp_path / "machines").mkdir()
    (tmp_path / "srun").mkdir()
    options = {"num_gpus_per_machine": 1, "num_machines": 2, "dist_url": url}
    second = json.dumps({**options, "machine_rank": 1})
    started = [start(SCRIPT, "write_ranks", tmp_path / "machines", second)]
    port = str(free_port())
    for rank in range(2):
        variables = {"SLURM_PROCID": str(rank), "SLURM_STEP_NUM_TASKS": "2", "MASTER_PORT": port}
        variables |= {"SLURM_LOCALID": str(rank), "SLURM_STEP_TASKS_PER_NODE": "2"}
        one = json.dumps({"num_gpus_per_machine": 1})
        started.append(start(SCRIPT, "write_ranks", tmp_path / "srun", one, **variables))
    launch(write_ranks, **options, args=(tmp_path / "machines",), on_gpu=False)
    for process in started:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    for rank in range(2):
        name = f"ranks{rank}.json"
        # rank, rank on its machine, processes on a machine
        assert json.loads((tmp_path / "machines" / name).read_text()) == [[0, 0, 1], [1, 0, 1]]
        assert json.loads((tmp_path / "srun" / name).read_text()) == [[0, 0, 2], [1, 1, 2]]
