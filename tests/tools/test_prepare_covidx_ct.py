"""The command line of tools/prepare_covidx_ct.py."""

import json

import pytest
from PIL import Image

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct

SPLIT_OF = ("train", "train", "val", "test")


@pytest.fixture
def toy(tmp_path) -> list[str]:
    """Arguments for a tree of four patients a class, and for lists of it."""
    arguments = ["--image-root", str(tmp_path / "tree")]
    lines = {"train": [], "val": [], "test": []}
    for label, prefix in enumerate(("Normal", "CP", "NCP")):
        for k, split in enumerate(SPLIT_OF):
            patient = 10 * label + k
            path = tmp_path / f"tree/{prefix}/{patient}/7/0001.jpg"
            path.parent.mkdir(parents=True)
            Image.new("L", (8, 8)).save(path)
            lines[split].append(f"{prefix}_{patient}_7_0001.png {label} 0 0 8 8\n")
    for split, slices in lines.items():
        (tmp_path / f"{split}.txt").write_text("".join(slices))
        arguments += [f"--{split}-list", str(tmp_path / f"{split}.txt")]
    return arguments


def test_lists_to_datasets_in_the_default_folder(toy, run_tool, tmp_path):
    arguments = ["--per-class", "2", "--seed", "5"]
    root = str(tmp_path / "sets")
    result = run_tool("prepare_covidx_ct.py", *toy, *arguments, DETECTRON2_DATASETS=root)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "sets/covidx_ct/annotations"
    sizes = {p.stem: len(load_covidx_ct(p)) for p in folder.iterdir()}
    assert sizes == {"train": 6, "train_full": 6, "val": 3, "test": 3}
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["dataset", "class", "slices", "patients", "scans"] in rows
    assert ["train_full", "COVID-19", "2", "2", "2"] in rows
    assert ["test", "all", "3", "3", "3"] in rows
    assert str(folder / "val.json") in result.stdout


@pytest.fixture
def prepare(run_tool):
    """Runs the tool in this process and returns what it printed."""

    def run(*arguments: str) -> str:
        result = run_tool("prepare_covidx_ct.py", *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_tree_without_lists_and_a_published_sample(toy, prepare, tmp_path):
    fractions = ["--split-fractions", "0.5", "0.25", "0.25"]
    prepare(*toy[:2], "--per-class", "1", *fractions, "--output", str(tmp_path / "a"))
    assert len(load_covidx_ct(tmp_path / "a/annotations/train_full.json")) == 6
    (tmp_path / "sample.txt").write_text("2_21_7_0001.png\n0_0_7_0001.png\n")
    sample = ["--sample-list", str(tmp_path / "sample.txt"), "--output", str(tmp_path / "b")]
    prepare(*toy, *sample)
    records = load_covidx_ct(tmp_path / "b/annotations/train.json")
    assert [r["image_id"] for r in records] == ["NCP_21_7_0001", "Normal_0_7_0001"]


def test_the_json_records_how_the_slices_were_made(toy, prepare, tmp_path):
    prepare(*toy, "--per-class", "1", "--output", "out", "--window", "range")
    content = json.loads((tmp_path / "out/annotations/val.json").read_text("utf-8"))
    assert content["info"]["window"]["kind"] == "range"


def test_notes_are_printed(toy, prepare, tmp_path):
    (tmp_path / "tree/CP/10/7/0001.jpg").unlink()
    printed = prepare(*toy, "--per-class", "1", "--allow-missing", "--output", "out")
    assert "Note: listed slices left out" in printed


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--per-class", "1", "--sample-list", "x"], "not allowed with argument --per-class"),
        (["--split-fractions", "1", "0", "0"], "Give lists or --split-fractions, not both."),
    ],
)
def test_contradicting_options_are_refused(toy, run_tool, tmp_path, extra, message):
    result = run_tool("prepare_covidx_ct.py", *toy, *extra, "--output", "out")
    assert result.returncode == 2
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_class_is_a_user_error(toy, run_tool, tmp_path):
    with (tmp_path / "train.txt").open("a") as file:
        file.write("XY_1_2_0003.png 2 0 0 8 8\n")
    result = run_tool("prepare_covidx_ct.py", *toy, "--per-class", "1", "--output", "out")
    assert result.returncode == 2
    assert f"{tmp_path / 'train.txt'}:7: unknown class 'XY'" in result.stderr
    assert not (tmp_path / "out").exists()
