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


def test_a_split_by_patient_passes_and_one_that_leaks_does_not(audit, tmp_path):
    result = audit("train=cncb_lesion_train", "test=cncb_lesion_test")
    assert "Traceback" not in result.stderr
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert str(tmp_path / "audit/audit.html") in result.stdout

    again = audit("train=cncb_lesion_train", "test=cncb_lesion_train")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr

    leaks = audit("train=cncb_lesion_train", "test=cncb_lesion_train", "--overwrite")
    assert leaks.returncode == 10, leaks.stderr
    assert "error: 2 patients are in train and in test (6 slices and 6 slices)." in leaks.stdout
    assert "error: 6 images of train have copies in test" in leaks.stdout


def test_mistakes_are_one_line_and_exit_code_2(audit, tmp_path):
    result = audit("train=nothing")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: nothing: no registered dataset, file or folder")
    assert not (tmp_path / "audit").exists()
