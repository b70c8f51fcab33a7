"""The comparison of masks on toy data, from the command to the page."""

import json

import numpy as np
import pytest
from toy_scans import write_pictures, write_volume


@pytest.fixture
def masks(tmp_path):
    """Folders ``truth`` (1 lung, 2 lesion), ``exact``, ``half`` and ``none`` of three patients."""
    for place, patient in enumerate("abc"):
        lesion = np.zeros((2, 16, 16), np.uint8)
        lesion[0, 2 : 6 + 2 * place, 2:6] = 1
        half = lesion.copy()
        half[:, :, 4:] = 0
        truth = np.where(lesion > 0, 2, 1).astype(np.uint8)
        for name, voxels in (("truth", truth), ("exact", lesion), ("half", half)):
            write_volume(tmp_path / name / f"{patient}.nii.gz", voxels)
        write_volume(tmp_path / "none" / f"{patient}.nii.gz", np.zeros_like(lesion))
    return tmp_path


def test_numbers_of_a_comparison(run_tool, masks):
    result = run_tool(
        *("compare.py", "--truth", "truth", "exact=exact", "half=half", "none=none"),
        *("--values", "truth=2", "--resamples", "50"),
    )
    assert result.returncode == 0, result.stderr
    assert "Only 3 patients" in result.stdout
    assert "Not for clinical use" in result.stdout and "report.html" in result.stdout
    report = json.loads((masks / "comparison/report.json").read_text("utf-8"))
    tables = report["sections"]["results"]["tables"]
    scores = {
        (row["measure"], row["program"]): row["value"]
        for table in tables.values()
        for row in table["rows"]
    }
    assert scores["Dice, mean of patients", "exact"] == 1
    assert scores["Dice, mean of slices", "half"] == pytest.approx(2 / 3)
    assert scores["Dice, mean of patients", "none"] == 0
    assert scores["lesions found", "half"] == 0  # IoU of exactly 0.5
    assert scores["false lesions per slice", "half"] == 0.5
    ml = 0.7 * 0.8 * 2.5 / 1000
    assert scores["volume error", "half"] == pytest.approx(-ml * (8 + 12 + 16) / 3)
    differences = report["sections"]["differences"]["tables"]["differences"]["rows"]
    first = differences[0]
    assert (first["programs"], first["difference"]) == ("exact - half", pytest.approx(1 / 3))
    assert first["interval without 0"] is True
    assert len(differences) == 4 * 3
    slices = report["sections"]["patients"]["figures"]["dice"]["numbers"]["slices"]["half"]
    assert [one["dice"] for one in slices] == pytest.approx([2 / 3, None] * 3)


def test_a_truth_with_lungs_and_a_single_patient_are_pointed_out(run_tool, masks):
    result = run_tool("compare.py", "--truth", "truth/a.nii.gz", "x=exact/a.nii.gz")
    assert result.returncode == 0, result.stderr
    assert "values 1, 2, which all count as lesions" in result.stdout
    assert "one patient, so there are no intervals" in result.stdout


def test_patients_that_are_left_out_are_named(run_tool, masks):
    (masks / "half/b.nii.gz").unlink()
    arguments = ["compare.py", "--truth", "truth", "exact=exact", "half=half", "--common"]
    result = run_tool(*arguments)
    assert result.returncode == 0, result.stderr
    assert "Left out: half has no mask of 1 patient: b" in result.stdout
    report = json.loads((masks / "comparison/report.json").read_text("utf-8"))
    rows = report["sections"]["patients"]["tables"]["patients"]["rows"]
    assert [row["patient"] for row in rows] == ["a", "a", "c", "c"], "the same for all programs"


def test_pictures_against_volumes_are_in_pixels_and_paired_by_order(run_tool, masks):
    voxels = np.zeros((2, 16, 16), np.uint8)
    voxels[1, :4, :4] = 255
    write_pictures(masks / "png", voxels)
    write_volume(masks / "plain.nii", voxels)
    result = run_tool("compare.py", "--truth", "png", "x=plain.nii")
    assert result.returncode == 2 and "does not fit its truth" in result.stderr
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(masks / "plain.nii"))
    result = run_tool("compare.py", "--truth", "png", "x=plain.nii")
    assert result.returncode == 0, result.stderr
    assert "are paired with the slices" in result.stdout and "volumes in pixels" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x"], "give NAME=MASKS"),
        (["x=exact", "x=half"], "is already used"),
        (["x=truth"], "is the truth itself"),
        (["x=exact", "--values", "y=1"], "--values y=1"),
        (["x=exact", "--values", "x=0"], "whole numbers above 0"),
        (["x=exact", "--values", "x=7"], "hold none of these values"),
        (["x=exact/a.nii.gz"], "has no mask of"),
    ],
)
def test_mistakes_end_in_one_line_and_write_nothing(arguments, message, run_tool, masks):
    result = run_tool("compare.py", "--truth", "truth", *arguments)
    assert result.returncode == 2
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert not (masks / "comparison").exists()
