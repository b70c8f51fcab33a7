"""The benchmark as a command."""

import json
from pathlib import Path


def test_it_measures_and_writes(run_tool, tmp_path: Path) -> None:
    done = run_tool(
        "benchmark.py", "--rows", "classify-resnet18_t1", "--size", 64, "--slices", 1,
        "--rounds", 1, "--output", "out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[1/1] classify-resnet18_t1" in done.stdout
    assert "out/benchmark.md" in done.stdout
    (row,) = json.loads((tmp_path / "out" / "benchmark.json").read_text())["rows"]
    assert row["value"] > 0
    assert "classify slices" in (tmp_path / "out" / "benchmark.md").read_text()


def test_it_lists_the_rows(run_tool) -> None:
    done = run_tool("benchmark.py", "--list")
    assert done.returncode == 0
    assert "floor-resnet18_t1" in done.stdout and "at most 1.6x" in done.stdout


def test_wrong_arguments_are_user_errors(run_tool, tmp_path: Path) -> None:
    for arguments, message in (
        (["--rows", "nonsense"], "No row nonsense. Choose from: classify-resnet18_t1"),
        (["--weights", "missing.safetensors"], "missing.safetensors does not exist"),
    ):
        done = run_tool("benchmark.py", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
    assert not list(tmp_path.iterdir())
