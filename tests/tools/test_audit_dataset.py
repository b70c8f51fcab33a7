"""The audit tool."""

import json

import pytest


@pytest.fixture
def audit(run_script, lesion_root, tmp_path):
    def run(*arguments: object):
        environment = {"DETECTRON2_DATASETS": str(lesion_root)}
        arguments = (*arguments, "--output", tmp_path / "audit")
        return run_script("audit_dataset.py", *arguments, **environment)

    return run


def test_leaks_by_image_and_by_name_are_errors(audit, tmp_path):
    result = audit("train=cncb_lesion_train", "test=cncb_lesion_test", "--trial", 4)
    assert "Traceback" not in result.stderr
    content = json.loads((tmp_path / "audit/audit.json").read_text())
    assert content["images_read"] == 12
    codes = {f["code"] for f in content["findings"]}
    assert not {c for c in codes if c.endswith("in_two_groups")}
    assert "copies_between_groups" in codes  # all toy slices without lesions are identical
    assert content["copy_search_trial"]["images"] == 4
    assert result.returncode == 10
    assert str(tmp_path / "audit/audit.html") in result.stdout

    leaks = audit("train=cncb_lesion_train", "test=cncb_lesion_train", "--no-images", "--overwrite")
    assert leaks.returncode == 10, leaks.stderr
    assert "error: 2 patients in both train and test (6 slices and 6 slices)." in leaks.stdout
    assert "images were left out by --no-images" in leaks.stdout


def test_a_mistake_gives_one_line_and_exit_code_2(audit, tmp_path):
    result = audit("train=nothing")
    assert result.returncode == 2
    assert result.stderr.startswith("Error: nothing: no registered dataset, file or folder")
    assert not (tmp_path / "audit").exists()
