"""tools/convert_checkpoint.py on the command line."""

import hashlib
import runpy
from pathlib import Path

import pytest
from other_job import holding
from released_files import released_weights, write_released

import ct_lesion
from ct_lesion.checkpoint import (
    config_from_description,
    description_value,
    read_checkpoint,
    read_description,
)
from ct_lesion.files import locked_names

TOOL = Path(__file__).resolve().parents[2] / "tools" / "convert_checkpoint.py"


def convert(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", [str(TOOL), *map(str, arguments)])
    try:
        runpy.run_path(str(TOOL), run_name="__main__")
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, suffix: str
) -> None:
    extra = released_weights(18, "res4", kind="classification", num_rois=64)
    source = write_released(
        tmp_path / "released.pth", extra | {"old.weight": extra["rpn.head.conv.bias"]}
    )
    output = tmp_path / f"out{suffix}"
    assert convert(monkeypatch, source, output) == 0
    printed = capsys.readouterr().out
    for part in (
        "classification",
        "ResNet18+FPN, truncated once (T1)",
        "classification/resnet18_t1.yaml",
        "MODEL.ROI_BATCH.SIZE 64",
        "warning: old.weight",
        hashlib.sha256(output.read_bytes()).hexdigest(),
        str(output),
    ):
        assert part in printed
    description = read_description(output)
    assert description_value(description, "class_names")["images"][2] == "COVID-19"
    cfg = config_from_description(description)
    assert (cfg.MODEL.ROI_BATCH.SIZE, cfg.MODEL.WEIGHTS) == (64, "")
    assert "classifier.fc1.weight" in read_checkpoint(output).model


def test_existing_output_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source = write_released(tmp_path / "released.pth", released_weights())
    output = tmp_path / "out.safetensors"
    output.write_text("mine")
    assert convert(monkeypatch, source, output) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    leaf = "segmentation/resnet18_t2.yaml"
    with holding(locked_names(output)) as pid:
        assert convert(monkeypatch, source, output, "--overwrite") == 2
        assert f"out.safetensors is being written by process {pid}" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert convert(monkeypatch, source, output, "--overwrite", "--config-file", leaf) == 0
    described = config_from_description(read_description(output))
    assert described.DATASETS == ct_lesion.load_config(leaf).DATASETS


def test_errors_are_one_line_and_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    source = write_released(tmp_path / "released.pth", released_weights())
    cut = tmp_path / "cut.pth"
    cut.write_bytes(source.read_bytes()[:5000])
    for arguments in (
        [tmp_path / "nothing.pth", tmp_path / "out.pth"],
        [cut, tmp_path / "out.pth"],
        [source, tmp_path / "out.bin"],
        [source, tmp_path / "out.pth", "--config-file", "segmentation/resnet19.yaml"],
        [source, tmp_path / "out.pth", "--config-file", "segmentation/resnet34_t2.yaml"],
    ):
        assert convert(monkeypatch, *arguments) == 2
        error = capsys.readouterr().err
        assert len(error.strip().splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.pth", "released.pth"]
