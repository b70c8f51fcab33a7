"""The command line of tools/audit_dataset.py."""

import json

import pytest
from other_job import holding

from ct_lesion.files import locked_folder

INPUTS = ("train=cncb_lesion_train", "test=cncb_lesion_test")


@pytest.fixture
def audit(datasets, run_tool, tmp_path):
    """Runs the tool in this process."""
    return lambda *arguments: run_tool(
        "audit_dataset.py", *arguments, "--output", tmp_path / "audit"
    )


def test_the_default_folder_and_the_steps_of_an_audit(datasets, run_tool, tmp_path):
    result = run_tool("audit_dataset.py", *INPUTS, "--no-images")
    assert result.returncode == 0, result.stderr
    assert "[1/5]" in result.stdout
    assert (tmp_path / "output/audit/audit.html").is_file()


def test_copies_between_groups_are_errors_and_are_shown(audit, tmp_path):
    result = audit(*INPUTS, "--trial", 12)
    assert result.returncode == 10, result.stderr
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert "copies_between_groups" in codes  # all toy slices without lesions are identical
    assert content["copy_search_trial"]["images"] == 12
    assert '<img src="data:image/jpeg;base64,' in (tmp_path / "audit/audit.html").read_text()


def test_warnings_fail_a_strict_audit_only(audit):
    # one warning: toy slices without lesions are identical
    assert audit("cncb_lesion_train").returncode == 0
    assert audit("cncb_lesion_train", "--strict", "--overwrite").returncode == 10


def test_patients_in_two_groups_are_errors_without_images_too(audit):
    result = audit("train=cncb_lesion_train", "test=cncb_lesion_train", "--no-images")
    assert result.returncode == 10, result.stderr
    assert (
        "error: 2 patients are in both train and test (slices: 6 in train, 6 in test)."
        in result.stdout
    )
    assert "because of --no-images" in result.stdout


def test_an_audit_without_trial_names_the_option(audit, tmp_path):
    advice = "give --trial N to test the search on copies of N of these images"
    assert advice in audit("cncb_lesion_train").stdout
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["copy_search_trial"] is None
    assert advice in [item["why"] for item in content["not_checked"]]
    assert advice in (tmp_path / "audit/audit.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train=nothing"], "nothing: no registered dataset, file or folder"),
        (["cncb_lesion_train", "--trial", "-1"], "--trial must be 0 or more"),
    ],
)
def test_a_mistake_is_a_user_error_and_writes_nothing(audit, tmp_path, arguments, message):
    result = audit(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert not (tmp_path / "audit").exists()


def test_a_second_audit_in_the_folder_is_refused(audit, tmp_path):
    with holding(locked_folder(tmp_path / "audit")) as pid:
        result = audit(*INPUTS, "--no-images")
    assert result.returncode == 2, result.stdout
    assert f"audit is being written by process {pid} on " in result.stderr
    assert not (tmp_path / "audit/audit.html").exists()
