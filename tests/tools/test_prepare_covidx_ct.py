"""The command line of tools/prepare_covidx_ct.py."""

import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "prepare_covidx_ct.py"
SPLIT_OF = ("train", "train", "val", "test")


@pytest.fixture
def toy(tmp_path) -> list[str]:
    """A tree of four patients a class with lists; the arguments that name them."""
    arguments = ["--image-root", str(tmp_path / "tree")]
    lines = {"train": [], "val": [], "test": []}
    for label, prefix in enumerate(("Normal", "CP", "NCP")):
        for k, split in enumerate(SPLIT_OF):
            patient = 10 * label + k
            path = tmp_path / f"tree/{prefix}/{patient}/7/0001.jpg"
            path.parent.mkdir(parents=True)
            Image.new("L", (8, 8)).save(path)
            lines[split].append(f"{prefix}_{patient}_7_0001.png {label} 0 0 8 8\n")
    for split, own in lines.items():
        (tmp_path / f"{split}.txt").write_text("".join(own))
        arguments += [f"--{split}-list", str(tmp_path / f"{split}.txt")]
    return arguments


def run(arguments: list[str]) -> None:
    runpy.run_path(str(TOOL))["main"](arguments)


def test_lists_to_datasets_below_the_variable(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    run([*toy, "--per-class", "2", "--seed", "5"])
    folder = tmp_path / "sets/covidx_ct/annotations"
    sizes = {p.stem: len(load_covidx_ct(p)) for p in folder.iterdir()}
    assert sizes == {"train": 6, "train_full": 6, "val": 3, "test": 3}
    printed = capsys.readouterr().out
    rows = [line.split() for line in printed.splitlines()]
    assert ["dataset", "class", "slices", "patients", "scans"] in rows
    assert ["train_full", "COVID-19", "2", "2", "2"] in rows
    assert ["test", "all", "3", "3", "3"] in rows
    assert str(folder / "val.json") in printed


def test_tree_alone_and_a_published_sample(toy, tmp_path, capsys):
    run([*toy[:2], "--per-class", "1", "--split-fractions", "0.5", "0.25", "0.25"]
        + ["--output", str(tmp_path / "a")])  # fmt: skip
    assert len(load_covidx_ct(tmp_path / "a/annotations/train_full.json")) == 6
    (tmp_path / "sample.txt").write_text("2_21_7_0001.png\n0_0_7_0001.png\n")
    sample = ["--sample-list", str(tmp_path / "sample.txt"), "--output", str(tmp_path / "b")]
    run([*toy, *sample])
    records = load_covidx_ct(tmp_path / "b/annotations/train.json")
    assert [r["image_id"] for r in records] == ["NCP_21_7_0001", "Normal_0_7_0001"]


def test_notes_are_printed(toy, tmp_path, capsys):
    (tmp_path / "tree/CP/10/7/0001.jpg").unlink()
    run([*toy, "--per-class", "1", "--allow-missing", "--output", str(tmp_path / "out")])
    assert "Note: listed slices left out" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--per-class", "1", "--sample-list", "x"], "not allowed with argument --per-class"),
        (["--split-fractions", "1", "0", "0"], "the lists say what is in which split already"),
    ],
)
def test_options_that_exclude_each_other(toy, tmp_path, capsys, extra, message):
    with pytest.raises(SystemExit) as caught:
        run([*toy, *extra, "--output", str(tmp_path / "out")])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_mistake_of_a_user_ends_with_2_and_one_message(toy, tmp_path, monkeypatch, capsys):
    with (tmp_path / "train.txt").open("a") as file:
        file.write("XY_1_2_0003.png 2 0 0 8 8\n")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "sets"))
    monkeypatch.setattr(sys, "argv", [str(TOOL), *toy, "--per-class", "1"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(TOOL), run_name="__main__")
    assert caught.value.code == 2
    assert f"{tmp_path / 'train.txt'}:7: unknown class 'XY'" in capsys.readouterr().err
    assert not (tmp_path / "sets").exists()


def test_help_has_an_example():
    parser = runpy.run_path(str(TOOL))["build_parser"]()
    text = parser.format_help()
    assert "python tools/prepare_covidx_ct.py --image-root" in text
    assert all(action.help for action in parser._actions), "an option without an explanation"
