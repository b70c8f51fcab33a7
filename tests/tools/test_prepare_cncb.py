import argparse
import json
import zipfile

import pytest

from ct_lesion.data.prepare.options import add_slice_window_options, window_of_slices
from ct_lesion.errors import DatasetError
from ct_lesion.scans.windows import WINDOWS, Window


@pytest.fixture
def lists(tmp_path):
    """Arguments that split the toy archive by two lists of files."""
    arguments = []
    for name, patients in (("train", "01"), ("test", "23")):
        path = tmp_path / f"{name}.txt"
        path.write_text("\n".join(f"{p}_{s}.jpg" for p in patients for s in (0, 1)))
        arguments += ["--split-file", f"{name}={path}"]
    return arguments


def test_lists_give_datasets_and_a_summary(run_tool, lesion_archive, lists, tmp_path):
    output = tmp_path / "cncb"
    options = ["--output", output, "--min-area", 20, *lists, "--val-fraction", 0]
    result = run_tool("prepare_cncb.py", lesion_archive, *options)
    assert "There is no val split" in result.stdout
    assert not (output / "annotations/cncb_lesion_val.json").exists()
    assert result.returncode == 0, result.stderr
    assert "4 slices are not listed and were left out." in result.stdout
    assert str(output / "annotations") in result.stdout
    coco = json.loads((output / "annotations/cncb_lesion_train.json").read_text("utf-8"))
    assert (len(coco["images"]), len(coco["annotations"])) == (4, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--test-patients", "77"], "the archive has no patient 77"),
        (["--split-fractions", "0.5", "0.1", "0.1"], "add up to 1"),
        (["--test-patients", "2", "--val-fraction", "1"], "--val-fraction 1: give a number"),
        (["--split-file", "train=nowhere.txt"], "give train=LIST and test=LIST"),
        (["--split-file", "train=no.txt", "--split-file", "test=no.txt"], "no.txt cannot be read"),
    ],
)
def test_wrong_splits_are_user_errors(run_tool, lesion_archive, arguments, message):
    result = run_tool("prepare_cncb.py", lesion_archive, "--output", "out", *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_patient_in_two_lists_is_refused(run_tool, lesion_archive, lists, tmp_path):
    (tmp_path / "test.txt").write_text("1_2.jpg\n2_0.jpg\n")
    result = run_tool("prepare_cncb.py", lesion_archive, "--output", "out", *lists)
    assert result.returncode == 2
    assert "patient 1 is in train and test" in result.stderr
    assert not (tmp_path / "out").exists()


def window_of(folder):
    coco = json.loads((folder / "annotations/cncb_lesion_train.json").read_text("utf-8"))
    return coco["info"]["window"]


def test_the_json_records_how_the_images_were_made(run_tool, lesion_archive, lists, tmp_path):
    given = ["--window", "lung", "--window-clahe", 7, "--window-side", 256]
    for options, kind in (([], "unknown"), (given, "fixed")):
        result = run_tool("prepare_cncb.py", lesion_archive, "--output", kind, *lists, *options)
        assert result.returncode == 0, result.stderr
        assert window_of(tmp_path / kind)["kind"] == kind
    expected = {"level": -600, "width": 1500, "kind": "fixed", "clahe": 7, "side": 256}
    assert window_of(tmp_path / "fixed") == expected


def test_the_window_json_of_the_phantom_is_read(run_tool, tmp_path):
    arguments = ["--lesion-patients", 3, "--slices-per-patient", 1, "--patients-per-class", 3]
    run_tool("make_phantom.py", "--output", "phantom", *arguments, "--slices-per-scan", 1)
    assert (tmp_path / "phantom/covidx/window.json").is_file()
    archive = ["phantom/ct_lesion_seg", "--test-patients", "2"]
    result = run_tool("prepare_cncb.py", *archive, "--output", "out")
    assert result.returncode == 0, result.stderr
    window = window_of(tmp_path / "out")
    assert (window["kind"], window["level"], window["width"]) == ("fixed", -600, 1500)
    result = run_tool("prepare_cncb.py", *archive, "--output", "other", "--window", "bone")
    assert result.returncode == 2
    assert "window.json: the slices were made with lung (level -600" in result.stderr
    assert "the options say bone" in result.stderr


def test_the_window_json_in_a_zip_is_read(tmp_path):
    parser = argparse.ArgumentParser()
    add_slice_window_options(parser)
    given, nothing = parser.parse_args(["--window", "bone"]), parser.parse_args([])
    for place in ("window.json", "ct_lesion_seg/window.json"):
        path = tmp_path / f"{len(place)}.zip"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(place, json.dumps(Window(-600, 1500).as_dict()))
            file.writestr("a/b/window.json", "of something else")
        assert window_of_slices(nothing, path) == Window(-600, 1500)
        with pytest.raises(DatasetError, match=r"window.json: the slices were made with lung"):
            window_of_slices(given, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("other/window.json", "{}")
    with pytest.raises(DatasetError, match="one of several"):
        window_of_slices(given, path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../window.json", "{}")
    assert window_of_slices(given, path) == WINDOWS["bone"]


def test_a_validation_split_is_drawn_by_default(run_tool, lesion_archive, tmp_path):
    result = run_tool("prepare_cncb.py", lesion_archive, "--output", "out", "--test-patients", "2")
    assert result.returncode == 0, result.stderr
    patients = {}
    for split in ("train", "val", "test"):
        path = tmp_path / f"out/annotations/cncb_lesion_{split}.json"
        images = json.loads(path.read_text("utf-8"))["images"]
        patients[split] = {image["patient"] for image in images}
    assert patients["test"] == {"2"}
    assert len(patients["val"]) == 1  # of three; a tenth is at least one
    assert sorted(p for split in patients.values() for p in split) == ["0", "1", "2", "3"]
