"""ONNX files: their metadata, faults that prevent an export, and the script of docs/onnx.md."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from toy_checkpoints import SCORE_THRESH

from ct_lesion import LesionPredictor
from ct_lesion.errors import UserError
from ct_lesion.export import onnx_file
from ct_lesion.export.onnx_check import match_regions
from ct_lesion.export.onnx_file import Exported, export_onnx
from ct_lesion.prediction.models import TrainedModel, load_model

DOCS = Path(__file__).resolve().parents[2] / "docs"
WITHOUT_TORCH = """
import runpy, sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "detectron2", "ct_lesion", "cv2"]))
runpy.run_path(sys.argv[0])
"""


@pytest.fixture(scope="module")
def segmenter(segmenter_file: Path) -> TrainedModel:
    return load_model(segmenter_file, device="cpu", score_thresh=SCORE_THRESH)


@pytest.fixture(scope="module")
def exported(segmenter: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export_onnx(segmenter, tmp_path_factory.mktemp("onnx") / "segmenter.onnx")


def test_metadata(exported: Exported, segmenter: TrainedModel) -> None:
    props = {p.key: p.value for p in onnx.load(exported.path).metadata_props}
    assert props == exported.metadata
    assert props["task"] == "segmentation"
    assert json.loads(props["class_names"]) == ["Lesion"]
    assert float(props["score_threshold"]) == SCORE_THRESH
    assert json.loads(props["window"])["kind"] == "unknown"
    resize = json.loads(props["resize"])
    assert (resize["shorter_side"], resize["longer_side"]) == (64, 1024)
    assert props["weights_sha256"] == segmenter.weights_sha256
    assert props["config_name"] == ""  # fewer maps than the shipped config
    assert "OUT_CHANNELS: 16" in props["config"]
    assert "Not for clinical use" in props["notice"]


def test_the_check_compares_three_sizes(exported: Exported) -> None:
    check = exported.check
    assert len({*check.sizes}) == 3 and check.regions > 0
    assert check.boxes < 1e-2 and check.values < 1e-3


def test_nothing_is_written_if_the_file_differs_from_the_network(
    exported: Exported,
    segmenter: TrainedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = copy.deepcopy(segmenter.model)
    with torch.no_grad():
        other.roi_heads.box_predictor.bbox_pred.bias[:2] += 0.1
    monkeypatch.setattr(onnx_file, "trace", lambda graph: exported.path.read_bytes())
    path = tmp_path / "segmenter.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(UserError, match=r"differs from the network: .*Nothing was written\."):
        export_onnx(replace(segmenter, model=other), path)
    assert [*tmp_path.iterdir()] == [path] and path.read_bytes() == b"earlier"


def test_wrong_paths_and_missing_packages_are_refused_before_tracing(
    segmenter: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"model\.pt: the name of an ONNX file must end in \.onnx"):
        export_onnx(segmenter, tmp_path / "model.pt")
    with pytest.raises(UserError, match="missing does not exist"):
        export_onnx(segmenter, tmp_path / "missing" / "model.onnx")
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="run `pip install onnx onnxruntime`"):
        export_onnx(segmenter, tmp_path / "model.onnx")


# ---- pairs of regions ---------------------------------------------------------------------------
REGIONS = np.array([[0.9, 10, 20], [0.5, 30, 40], [0.499999, 50, 60], [0.2, 50, 60]])


def test_regions_of_equal_scores_may_change_places() -> None:
    assert match_regions(REGIONS, REGIONS[[0, 2, 1, 3]], 0.01).tolist() == [0, 2, 1, 3]
    assert match_regions(REGIONS, REGIONS + [0, 0.005, 0], 0.01).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (REGIONS[:3], "finds 3 regions, not 4"),
        (REGIONS[[1, 0, 2, 3]], "rank 1, with a score of 0.900000. Nothing was written"),
        (REGIONS + [0, 0.02, 0], "rank 1"),
        (REGIONS[[0, 1, 1, 3]], "rank 3"),
        (np.where(REGIONS == 0.2, np.nan, REGIONS), "rank 4"),
    ],
)
def test_other_differences_are_refused(found: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        match_regions(REGIONS, found, 0.01)


# ---- the script in docs/onnx.md -----------------------------------------------------------------
def test_the_script_predicts_a_picture_without_torch(
    exported: Exported, segmenter: TrainedModel, tmp_path: Path
) -> None:
    [script] = re.findall(r"```python\n(.*?)```", (DOCS / "onnx.md").read_text("utf-8"), re.S)
    assert len(script.splitlines()) <= 60
    path = tmp_path / "predict_onnx.py"
    path.write_text(script)
    grey = np.random.default_rng(1).integers(0, 256, (50, 71), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "slice.png")
    code = WITHOUT_TORCH.replace("sys.argv[0]", repr(str(path)))
    command = [sys.executable, "-c", code, exported.path, "slice.png", "result.png"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (predicted,) = LesionPredictor(segmenter)(grey[None], is_hu=False).slices
    assert predicted.detections
    found = re.findall(r"Lesion: score ([\d.]+), .* (\d+) pixels", done.stdout)
    assert [int(pixels) for _, pixels in found] == [x.area_px for x in predicted.detections]
    wanted = [x.score for x in predicted.detections]
    assert [float(score) for score, _ in found] == pytest.approx(wanted, abs=1e-3)
    assert "Not for clinical use" in done.stdout
    drawn = np.asarray(Image.open(tmp_path / "result.png").convert("RGB"))
    assert drawn.shape == (50, 71, 3) and (drawn[..., 0] != drawn[..., 1]).any()
