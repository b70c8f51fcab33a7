#!/usr/bin/env python3
"""Install Detectron2 unless it is already installed.

Example:
    python tools/install_detectron2.py

The package index has no package detectron2. This job downloads the republication sal-detectron2,
checks its SHA-256, corrects three faults of the wheel (a top-level package "tools", libraries
compiled for Python 3.10 only, wrong requirements) and installs it for the Python that runs the job.
A Detectron2 that is already installed, such as your own build, is never changed. Torch is not
installed.
"""

import argparse
import base64
import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

REQUIREMENT = "sal-detectron2==0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
WRONG_REQUIREMENTS = (
    "Requires-Dist: numpy<2",
    "Requires-Dist: black",
    "Requires-Dist: dataclasses",
)
MISSING_REQUIREMENTS = """\
Requires-Dist: numpy
Requires-Dist: fvcore>=0.1.5
Requires-Dist: iopath>=0.1.7"""
# with a build number, so that the repacked wheel's name differs from the original's
WHEEL = b"""\
Wheel-Version: 1.0
Generator: ct_lesion install_detectron2
Root-Is-Purelib: true
Build: 1ct_lesion
Tag: py3-none-any
"""


def find_detectron2() -> Path | None:
    """The folder of the Detectron2 that would be imported."""
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("detectron2")
    return Path(spec.origin).parent if spec and spec.origin else None


def pip(*arguments: object) -> None:
    """Run this Python's pip; if it fails, exit with its error in one line."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode == 0:
        return
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
    if "No module named pip" in done.stderr:
        reason = f"{sys.executable} has no pip: install it with python -m ensurepip"
    elif "Retrying (Retry" in done.stderr:
        reason = "the package index cannot be reached. Check the network and pip's configuration"
    sys.exit(f"Error: pip {arguments[0]} {REQUIREMENT} failed: {reason}")


def repack(source: Path, folder: Path) -> None:
    """Write the corrected wheel, which pip installs, checks and removes as usual.

    Args:
        source: the wheel as downloaded.
        folder: where the corrected wheel goes.
    """
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"Error: {source.name} has SHA-256 {found}, expected {SHA256}. Do not install it.")
    name = "-".join(source.name.split("-")[:2])
    record = []
    with (
        zipfile.ZipFile(source) as old,
        zipfile.ZipFile(
            folder / f"{name}-1ct_lesion-py3-none-any.whl", "w", zipfile.ZIP_DEFLATED
        ) as new,
    ):
        for item in old.namelist():
            if item.startswith("tools/") or item.endswith((".so", "/", "/RECORD")):
                continue
            data = corrected(item, old.read(item))
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{item},sha256={digest},{len(data)}\n")
            new.writestr(item, data)
        record.append(f"{name}.dist-info/RECORD,,\n")
        new.writestr(f"{name}.dist-info/RECORD", "".join(record))


def corrected(name: str, data: bytes) -> bytes:
    """The corrected content of a file of the wheel."""
    if name.endswith(".dist-info/METADATA"):
        lines = [x for x in data.decode().split("\n") if not x.startswith(WRONG_REQUIREMENTS)]
        lines.insert(lines.index("Requires-Dist: tabulate"), MISSING_REQUIREMENTS)
        return "\n".join(lines).encode()
    if name.endswith(".dist-info/WHEEL"):
        return WHEEL
    return b"detectron2\n" if name.endswith(".dist-info/top_level.txt") else data


def main() -> None:
    first, _, rest = __doc__.partition("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=first, epilog=rest, formatter_class=form).parse_args()
    if folder := find_detectron2():
        print(f"Detectron2 is already installed and stays unchanged: {folder}")
        return
    with tempfile.TemporaryDirectory() as name:
        download, repacked = Path(name) / "download", Path(name) / "repacked"
        repacked.mkdir()
        # tagged for Python 3.10, but its Python part runs on later versions too
        options = ("--no-deps", "--only-binary=:all:", "--implementation=cp")
        pip("download", *options, "--python-version=3.10", "--dest", download, REQUIREMENT)
        repack(next(download.glob("*.whl")), repacked)
        # by name, not by path: pip freeze would print the path of the temporary folder
        pip("install", "--no-deps", "--no-index", "--find-links", repacked, REQUIREMENT)
    print(f"Detectron2 is installed: {find_detectron2()}")


if __name__ == "__main__":
    main()
