"""The command line of tools/audit_dataset.py."""

import json
import runpy
from pathlib import Path

import pytest

from ct_lesion.errors import UserError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "audit_dataset.py"
INPUTS = ("train=cncb_lesion_train", "test=cncb_lesion_test")


@pytest.fixture
def audit(datasets, tmp_path):
    """Runs the tool in this process; gives its exit code."""

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL))["main"]([*arguments, "--output", str(tmp_path / "audit")])
        return end.value.code

    return run


def test_copies_between_groups_are_errors(run_script, lesion_root, tmp_path):
    result = run_script(
        "audit_dataset.py", *INPUTS, "--trial", 12, DETECTRON2_DATASETS=str(lesion_root)
    )
    assert "Traceback" not in result.stderr
    assert result.returncode == 10
    content = json.loads((tmp_path / "output/audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert "copies_between_groups" in codes  # all toy slices without lesions are identical
    assert content["copy_search_trial"]["images"] == 12
    assert "output/audit/audit.html" in result.stdout


def test_warnings_fail_a_strict_audit_only(audit):
    # one warning: toy slices without lesions are identical
    assert audit("cncb_lesion_train") == 0
    assert audit("cncb_lesion_train", "--strict", "--overwrite") == 10


def test_names_in_two_groups_are_errors_without_images_too(audit, tmp_path, capsys):
    assert audit("train=cncb_lesion_train", "test=cncb_lesion_train", "--no-images") == 10
    printed = capsys.readouterr().out
    assert "error: 2 patients in both train and test (6 slices and 6 slices)." in printed
    assert "images were left out by --no-images" in printed


def test_without_trial_the_audit_says_how_to_ask_for_it(audit, tmp_path, capsys):
    assert audit("cncb_lesion_train") == 0
    assert "give --trial N to test the search on copies of N of these images" in (
        capsys.readouterr().out
    )
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["copy_search_trial"] is None
    assert any("--trial N" in item["why"] for item in content["not_checked"])
    assert "--trial N" in (tmp_path / "audit/audit.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train=nothing"], "^nothing: no registered dataset, file or folder"),
        (["cncb_lesion_train", "--trial", "-1"], "--trial must be 0 or more"),
    ],
)
def test_a_mistake_is_a_user_error_and_writes_nothing(datasets, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        runpy.run_path(str(TOOL))["main"]([*arguments, "--output", str(tmp_path / "audit")])
    assert not (tmp_path / "audit").exists()
