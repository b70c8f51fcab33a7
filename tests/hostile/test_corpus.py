"""Each hostile or damaged file is refused with the right message, or read without harm."""

import re
from collections import Counter
from pathlib import Path

import array_cases
import checkpoint_cases
import config_cases
import dataset_cases
import dicom_cases
import frame_cases
import picture_cases
import pytest
import resume_cases
import run_cases
import safetensors_cases
import special_cases
import volume_cases
import zip_cases
from cases import CANARY, MIXED, REFUSED, Case
from sandbox import MOST_MEGABYTES, Sandbox

CASES = [
    case
    for module in (
        *(checkpoint_cases, array_cases, safetensors_cases, resume_cases),
        *(config_cases, picture_cases, dataset_cases, run_cases),
        *(dicom_cases, frame_cases, volume_cases, zip_cases, special_cases),
    )
    for case in module.CASES
]
LONGEST_MESSAGE = 4000


def contents(folder: Path) -> dict[str, bytes | None]:
    """Bytes of every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if not path.is_symlink()
    }


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_file(case: Case, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    built = case.build(tmp_path / "in")
    paths = built if isinstance(built, list) else [built]
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    before = contents(tmp_path)
    outcomes = sandbox.read(case.entry, paths, tmp_path)
    allowed = {"refused", "loaded"} if case.expected == MIXED else {case.expected}
    assert {outcome.status for outcome in outcomes} == allowed, outcomes
    for path, outcome in zip(paths, outcomes, strict=True):
        assert outcome.megabytes < MOST_MEGABYTES, f"{path}: {outcome}"
        if outcome.status == "refused":
            check_message(case, tmp_path, outcome.message)
    assert not list(tmp_path.rglob(CANARY))
    if case.expected == REFUSED:
        assert contents(tmp_path) == before, "something was left behind, or changed"


def check_message(case: Case, folder: Path, message: str) -> None:
    assert "Traceback" not in message
    assert len(message) < LONGEST_MESSAGE
    assert re.search(case.match, message), message
    names = [path.name for path in folder.rglob("*") if path.name not in ("in", "out", "tmp")]
    assert str(folder) in message or any(name in message for name in names), message


def test_names_are_different() -> None:
    assert [name for name, n in Counter(case.id for case in CASES).items() if n > 1] == []
