import json

import cv2
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


def test_folders_give_a_dataset(run_tool, volumes, tmp_path):
    result = run_tool("prepare_volumes.py", *volumes, "--labels", "1=lesion")
    assert result.returncode == 0, result.stderr
    coco = json.loads((tmp_path / "out/annotations/cncb_lesion_train.json").read_text("utf-8"))
    assert (len(coco["images"]), len(coco["annotations"])) == (8, 2)
    assert "a: fewer than 10 slices (4)" in result.stdout
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


def test_slices_are_made_as_the_options_and_the_json_say(run_tool, volumes, tmp_path):
    window = ["--window-level", "1023.5", "--window-width", "4095", "--window-clahe", "7"]
    for name, options in (("full", []), ("out", ["--window-side", "32"])):
        arguments = [*volumes, "--labels", "1=lesion", *window, *options, "--output", name]
        assert run_tool("prepare_volumes.py", *arguments).returncode == 0
    path = next((tmp_path / "out/images").rglob("*0001.png"))
    hu = np.full((32, 32), -900.0)
    hu[:, 16:] = 40
    grey = np.rint((hu + 1024) * 255 / 4095).astype(np.uint8)
    grey = cv2.createCLAHE(7, (8, 8)).apply(grey)
    np.testing.assert_array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), grey)
    coco = json.loads((tmp_path / "out/annotations/cncb_lesion_train.json").read_text("utf-8"))
    expected = {"kind": "fixed", "level": 1023.5, "width": 4095, "clahe": 7, "side": 32}
    assert coco["info"]["window"] == expected
