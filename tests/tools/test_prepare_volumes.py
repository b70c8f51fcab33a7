import json

import numpy as np
import pytest
import SimpleITK as sitk


@pytest.fixture
def volumes(tmp_path):
    """Arguments for four scans of 4 slices, each with a lesion."""
    hu = np.full((4, 32, 32), -900, np.int16)
    hu[:, :, 16:] = 40
    mask = np.zeros((4, 32, 32), np.uint8)
    mask[1, 4:14, 4:14] = 1
    for folder, voxels in (("images", hu), ("masks", mask)):
        (tmp_path / folder).mkdir()
        for name in "abcd":
            sitk.WriteImage(sitk.GetImageFromArray(voxels), f"{tmp_path / folder / name}.nii.gz")
    return ["--images", "images", "--masks", "masks", "--output", "out"]


def test_folders_give_a_dataset(run_script, volumes, tmp_path):
    result = run_script("prepare_volumes.py", *volumes, "--labels", "1=lesion")
    assert result.returncode == 0, result.stderr
    coco = json.loads((tmp_path / "out/annotations/cncb_lesion_train.json").read_text("utf-8"))
    assert (len(coco["images"]), len(coco["annotations"])) == (8, 2)
    assert "a: 4 slices: fewer than 10" in result.stdout
    assert "out/annotations and the images beside it" in result.stdout


def test_a_list_names_the_patients(run_tool, volumes, tmp_path):
    rows = [f"p{k // 2},images/{n}.nii.gz,masks/{n}.nii.gz" for k, n in enumerate("abcd")]
    (tmp_path / "pairs.csv").write_text("\n".join(["patient,image,mask", *rows]))
    arguments = ["--pairs", "pairs.csv", "--test-patients", "p1", "--output", "out"]
    result = run_tool("prepare_volumes.py", *arguments, "--labels", "1=lesion")
    assert result.returncode == 0, result.stderr
    coco = json.loads((tmp_path / "out/annotations/cncb_lesion_test.json").read_text("utf-8"))
    assert {i["patient"] for i in coco["images"]} == {"p1"}
    assert {i["scan"] for i in coco["images"]} == {"c", "d"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "2=lesion"], "4 faults"),
        (
            ["--labels", "1=lesion", "--pairs", "x.csv"],
            "either --images and --masks, or --pairs",
        ),
    ],
)
def test_wrong_arguments_are_user_errors(run_tool, volumes, tmp_path, arguments, message):
    result = run_tool("prepare_volumes.py", *volumes, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()
