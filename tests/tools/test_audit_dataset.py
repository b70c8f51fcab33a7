"""The audit as a command."""

import json

import pytest


@pytest.fixture
def arguments(datasets, tmp_path):
    return ["--output", tmp_path / "audit", "--trial-images", 4]


def test_leaks_by_image_and_by_name_are_errors(run_script, run_tool, arguments, tmp_path):
    result = run_script(
        "audit_dataset.py", "train=cncb_lesion_train", "test=cncb_lesion_test", *arguments
    )
    assert "Traceback" not in result.stderr
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert "copies_between_groups" in codes  # the toy slices without lesions are identical
    assert result.returncode == 10
    assert str(tmp_path / "audit/audit.html") in result.stdout

    groups = ["train=cncb_lesion_train", "test=cncb_lesion_train"]
    leaks = run_tool("audit_dataset.py", *groups, "--no-images", "--overwrite", *arguments)
    assert leaks.returncode == 10, leaks.stderr
    assert "error: 2 patients are in train and in test (6 slices and 6 slices)." in leaks.stdout
    assert "images were left out by --no-images" in leaks.stdout


def test_an_unknown_input_is_a_user_error(run_tool, arguments, tmp_path):
    result = run_tool("audit_dataset.py", "train=nothing", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: nothing: no registered dataset, file or folder")
    assert not (tmp_path / "audit").exists()
