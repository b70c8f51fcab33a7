"""The installation of Detectron2, with a small wheel in place of the real one."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tool_runs import load_tool

tool = load_tool("install_detectron2.py")

METADATA = """Metadata-Version: 2.1
Name: sal-detectron2
Version: 0.7.2
Requires-Dist: numpy<2
Requires-Dist: tabulate
Requires-Dist: black==22.3
"""


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the published one's faults, whose hash the tool expects."""
    path = tmp_path / "sal_detectron2-0.7.2-cp310-cp310-manylinux1_x86_64.whl"
    info = "sal_detectron2-0.7.2.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("detectron2/__init__.py", "")
        file.writestr("detectron2/_C.cpython-310.so", "compiled")
        file.writestr("tools/train_net.py", "")
        file.writestr(f"{info}/METADATA", METADATA)
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: cp310-cp310-linux_x86_64\n")
        file.writestr(f"{info}/top_level.txt", "detectron2\ntools\n")
        file.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(tool, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    return path


def test_pip_installs_the_repacked_wheel(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "repacked"
    folder.mkdir()
    tool.repack(wheel, folder)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    site = tmp_path / "site"
    subprocess.run([*pip, "--find-links", folder, "--target", site, tool.REQUIREMENT], check=True)
    assert {path.name for path in site.iterdir()} == {
        "detectron2",
        "sal_detectron2-0.7.2.dist-info",
    }
    assert [p.name for p in (site / "detectron2").glob("*") if p.is_file()] == ["__init__.py"]
    lines = (site / "sal_detectron2-0.7.2.dist-info/METADATA").read_text().splitlines()
    required = [line.removeprefix("Requires-Dist: ") for line in lines if "Requires" in line]
    assert required == ["numpy", "fvcore>=0.1.5", "iopath>=0.1.7", "tabulate"]


def test_another_wheel_is_refused(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("detectron2/more.py", "")
    with pytest.raises(SystemExit, match=r"^Error: sal_detectron2\S+ has SHA-256 [0-9a-f]{64}, "):
        tool.repack(wheel, tmp_path)


def test_an_installed_detectron2_stays_unchanged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["install_detectron2.py"])
    monkeypatch.setattr(tool.subprocess, "run", None)  # calling it would be a TypeError
    tool.main()
    assert "Detectron2 is already installed and stays unchanged" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        ("WARNING: Retrying (Retry(total=4))\nERROR: No matching distribution", "be reached"),
        ("ERROR: No matching distribution found\nnotice", "failed: ERROR: No matching"),
        ("/usr/bin/python: No module named pip", "python -m ensurepip"),
    ],
)
def test_failures_of_pip_are_one_line(
    monkeypatch: pytest.MonkeyPatch, stderr: str, message: str
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(tool.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(SystemExit, match=message) as stop:
        tool.pip("download")
    assert "\n" not in stop.value.code
