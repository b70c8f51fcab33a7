"""Runs over several scans: what is written, what stands, what fails."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from pycocotools import mask as coco_mask
from toy_checkpoints import SCORE_THRESH

from ct_lesion import LesionPredictor
from ct_lesion.errors import UserError
from ct_lesion.prediction.lung_mask import LungMasks
from ct_lesion.prediction.run import RunOptions, predict_scans
from ct_lesion.scans.sources import ReadOptions, find_scans

# rows, columns and slices all run against the internal axes, and the volume is tilted by 10 degrees
COS, SIN = np.cos(np.radians(10)), np.sin(np.radians(10))
OBLIQUE = (-COS, SIN, 0, -SIN, -COS, 0, 0, 0, -1)


def write_volume(path: Path, values: np.ndarray, direction=OBLIQUE) -> Path:
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.8, 0.7, 5.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def predictor(segmenter_file, classifier_file):
    return LesionPredictor.from_checkpoint(
        segmenter_file, classifier_file, device="cpu", score_thresh=SCORE_THRESH
    )


@pytest.fixture
def volume(tmp_path, hu) -> Path:
    return write_volume(tmp_path / "volume.nii.gz", hu)


def run(inputs, predictor, output, **options):
    return predict_scans(
        find_scans(inputs, options=ReadOptions()), predictor, output, RunOptions(**options)
    )


def read(path: Path):
    return json.loads(path.read_text("utf-8"))


def test_the_files_of_a_scan_say_the_same(tmp_path, volume, predictor, hu):
    result = run([volume], predictor, tmp_path / "out", save_score_maps=True)
    assert (result.done, result.failed) == (["volume"], {})
    folder = tmp_path / "out/volume"
    summary = read(folder / "summary.json")
    image, mask = sitk.ReadImage(str(volume)), sitk.ReadImage(str(folder / "lesions.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, of)() == pytest.approx(getattr(image, of)(), abs=1e-5)
    labels = sitk.GetArrayFromImage(mask)
    assert (labels > 0).sum() * 0.8 * 0.7 * 5 / 1000 == pytest.approx(summary["lesion_volume_ml"])
    # the input's axes all run against the internal ones
    coco = read(folder / "instances.json")
    for image_record in coco["images"]:
        found = [a for a in coco["annotations"] if a["image_id"] == image_record["id"]]
        union = np.zeros(hu.shape[1:], bool)
        for annotation in found:
            union |= coco_mask.decode(annotation["segmentation"]).astype(bool)
        assert np.array_equal(labels[5 - image_record["slice"], ::-1, ::-1] > 0, union)
    rows = list(csv.DictReader((folder / "slices.csv").open()))
    assert [int(row["slice"]) for row in rows] == list(range(6))
    assert sum(int(row["lesions"]) for row in rows) == summary["lesions"] > 0
    assert sum(int(row["lesion_area_px"]) for row in rows) == (labels > 0).sum()
    shares = [float(rows[0][f"probability {name}"]) for name in summary["class_names"]]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    affected = [int(row["slice"]) for row in rows if int(row["lesions"])]
    assert summary["lesion_slice_range"] == [affected[0], affected[-1]]
    assert len(list((folder / "overlays").glob("*.png"))) == len(affected)
    assert len(list((folder / "score_maps").glob("*.npz"))) == 6
    manifest = read(folder / "manifest.json")
    assert manifest["made_from"]["options"]["score_thresh"] == SCORE_THRESH
    assert manifest["seconds"] > 0
    assert (tmp_path / "out/index.html").is_file()


def test_finished_scans_stand_and_a_rerun_does_the_others(tmp_path, volume, predictor, hu):
    out = tmp_path / "out"
    run([volume], predictor, out)
    written = (out / "volume/manifest.json").stat().st_mtime_ns
    second = write_volume(tmp_path / "second.nii.gz", hu[:3])
    (out / ".second.partial").mkdir()  # as a killed process leaves it
    result = run([volume, second], predictor, out)
    assert (result.skipped, result.done) == (["volume"], ["second"])
    assert (out / "volume/manifest.json").stat().st_mtime_ns == written
    assert sorted(p.name for p in out.iterdir()) == ["index.html", "second", "volume"]


def test_an_interrupted_scan_leaves_nothing(tmp_path, volume, predictor, monkeypatch):
    sources = find_scans([volume], options=ReadOptions())
    original = LesionPredictor.predict_slices

    def interrupted(self, scan):
        yield next(original(self, scan))
        raise KeyboardInterrupt

    monkeypatch.setattr(LesionPredictor, "predict_slices", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_scans(sources, predictor, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_other_options_are_refused_unless_overwritten(tmp_path, volume, predictor, segmenter_file):
    out = tmp_path / "out"
    run([volume], predictor, out)
    other = LesionPredictor.from_checkpoint(segmenter_file, device="cpu", score_thresh=0.9)
    with pytest.raises(UserError, match=r"volume \(other models, other options\)"):
        run([volume], other, out)
    assert read(out / "volume/summary.json")["score_thresh"] == SCORE_THRESH
    result = run([volume], other, out, overwrite=True)
    assert result.done == ["volume"]
    assert read(out / "volume/summary.json")["score_thresh"] == 0.9


def test_a_folder_that_is_no_prediction_is_never_replaced(tmp_path, volume, predictor):
    precious = tmp_path / "out/volume/thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(UserError, match="no prediction: move it away"):
        run([volume], predictor, tmp_path / "out", overwrite=True)
    assert precious.read_text() == "years of work"


def test_a_broken_scan_is_reported_and_the_others_go_on(tmp_path, volume, predictor, capsys):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(volume.read_bytes()[:500])
    result = run([broken, volume], predictor, tmp_path / "out")
    assert result.done == ["volume"]
    assert list(result.failed) == ["broken"]
    assert "broken.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out/broken").exists()


def test_lesion_as_a_share_of_lung(tmp_path, volume, predictor, hu):
    lung = write_volume(tmp_path / "lung.nii.gz", (hu < -500).astype(np.uint8))
    masks = LungMasks(lung, ("volume",))
    run([volume], predictor, tmp_path / "out", lung_masks=masks)
    folder = tmp_path / "out/volume"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lesions.nii.gz"))) > 0
    expected = (labels & (hu < -500)).sum() / (hu < -500).sum()
    assert read(folder / "summary.json")["lesion_share_of_lung"] == pytest.approx(expected)


def test_a_lung_mask_of_another_scan_is_refused(tmp_path, volume, predictor, hu):
    lung = write_volume(tmp_path / "lung.nii.gz", (hu[:5] < -500).astype(np.uint8))
    result = run([volume], predictor, tmp_path / "out", lung_masks=LungMasks(lung, ("volume",)))
    assert "is no mask of volume: it has (64, 48, 5) voxels" in result.failed["volume"]
    with pytest.raises(UserError, match="one file, but there are 2 scans"):
        LungMasks(lung, ("a", "b"))
