"""The audit as a user runs it."""

import json

import pytest


@pytest.fixture
def audit(run_script, lesion_root, tmp_path):
    def run(*arguments: object):
        environment = {"DETECTRON2_DATASETS": str(lesion_root)}
        arguments = (*arguments, "--output", tmp_path / "audit", "--trial-images", 4)
        return run_script("audit_dataset.py", *arguments, **environment)

    return run


def test_leaks_by_image_and_by_name_are_errors(audit, tmp_path):
    result = audit("train=cncb_lesion_train", "test=cncb_lesion_test")
    assert "Traceback" not in result.stderr
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert "copies_between_groups" in codes  # toy slices without lesions are all the same
    assert result.returncode == 10
    assert str(tmp_path / "audit/audit.html") in result.stdout

    leaks = audit("train=cncb_lesion_train", "test=cncb_lesion_train", "--no-images", "--overwrite")
    assert leaks.returncode == 10, leaks.stderr
    assert "error: 2 patients are in train and in test (6 slices and 6 slices)." in leaks.stdout
    assert "images were left out by --no-images" in leaks.stdout


def test_mistakes_are_one_line_and_exit_code_2(audit, tmp_path):
    result = audit("train=nothing")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: nothing: no registered dataset, file or folder")
    assert not (tmp_path / "audit").exists()
