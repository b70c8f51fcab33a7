"""Runs over several scans: files written, scans skipped, refused and reported."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from full_disk import files_of_at_most
from nifti_bytes import edited, header_of
from other_job import holding
from PIL import Image
from pycocotools import mask as coco_mask
from toy_checkpoints import SCORE_THRESH

from ct_lesion import LesionPredictor
from ct_lesion.errors import UserError
from ct_lesion.files import locked_folder
from ct_lesion.lesions.lung_files import LungMasks
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.locks import short_hash
from ct_lesion.prediction import run as prediction_run
from ct_lesion.prediction.manifest import hash_files
from ct_lesion.prediction.run import RunOptions, predict_scans
from ct_lesion.scans.sources import ReadOptions, ScanSource, find_scans
from ct_lesion.scans.volume_writing import write_volume
from ct_lesion.scans.windows import WINDOWS


def run(inputs, predictor, output, **options):
    sources = find_scans(inputs, options=ReadOptions())
    return predict_scans(sources, predictor, output, RunOptions(**options))


def read(path: Path):
    return json.loads(path.read_text("utf-8"))


@pytest.fixture
def output(predicted_folder, tmp_path) -> Path:
    """A copy of the output folder of a finished run over ``volume``."""
    return shutil.copytree(predicted_folder, tmp_path / "out")


def test_all_files_of_a_scan_agree(predicted_folder, volume, hu):
    folder = predicted_folder / "volume"
    summary = read(folder / "summary.json")
    image, mask = sitk.ReadImage(str(volume)), sitk.ReadImage(str(folder / "lesions.nii.gz"))
    assert mask.GetSize() == image.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(mask, name)() == pytest.approx(getattr(image, name)(), abs=1e-5)
    labels = sitk.GetArrayFromImage(mask)
    assert (labels > 0).sum() * 0.8 * 0.7 * 5 / 1000 == pytest.approx(summary["lesion_volume_ml"])
    # the input's axes all run against the internal ones
    coco = read(folder / "instances.json")
    for image_record in coco["images"]:
        annotations = [a for a in coco["annotations"] if a["image_id"] == image_record["id"]]
        union = np.zeros(hu.shape[1:], bool)
        for annotation in annotations:
            union |= coco_mask.decode(annotation["segmentation"]).astype(bool)
        assert np.array_equal(labels[5 - image_record["slice"], ::-1, ::-1] > 0, union)
    rows = list(csv.DictReader((folder / "slices.csv").open()))
    assert [int(row["slice"]) for row in rows] == list(range(6))
    assert sum(int(row["lesions"]) for row in rows) == summary["detections"] > 0
    assert sum(int(row["lesion_area_px"]) for row in rows) == (labels > 0).sum()
    check_lesions(folder, summary, coco, labels)
    shares = [float(rows[0][f"probability {name}"]) for name in summary["class_names"]]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    affected = [int(row["slice"]) for row in rows if int(row["lesions"])]
    assert summary["lesion_slice_range"] == [affected[0], affected[-1]]
    assert len(list((folder / "overlays").glob("*.png"))) == len(affected)
    assert len(list((folder / "score_maps").glob("*.npz"))) == 6
    manifest = read(folder / "manifest.json")
    assert manifest["pictures"] == summary["pictures"]
    for name in summary["pictures"]:
        with Image.open(folder / name) as picture:
            picture.load()
    assert {"report.png", "view/thumbnail.jpg", "view/coronal.jpg"} <= set(summary["pictures"])
    assert manifest["made_from"]["options"]["score_thresh"] == SCORE_THRESH
    assert manifest["seconds"] > 0
    assert {"torch", "numpy", "ct_lesion"} <= set(manifest["versions"])
    assert (predicted_folder / "index.html").is_file()


def check_lesions(folder: Path, summary: dict, coco: dict, labels: np.ndarray) -> None:
    """The numbers of lesions are the same in all files, and the volumes add up."""
    ids = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lesion_ids.nii.gz")))
    assert np.array_equal(ids > 0, labels > 0)
    found = summary["lesion_list"]
    assert [le["number"] for le in found] == list(range(1, summary["lesions"] + 1))
    assert np.bincount(ids.ravel())[1:].tolist() == [le["pixels"] for le in found]
    assert sum(le["volume_ml"] for le in found) == pytest.approx(summary["lesion_volume_ml"])
    rows = list(csv.DictReader((folder / "lesions.csv").open()))
    assert [row["class"] for row in rows] == [le["class"] for le in found]
    assert [float(row["mean_hu"]) for row in rows] == pytest.approx(
        [le["mean_hu"] for le in found], rel=1e-5
    )
    detections = list(csv.DictReader((folder / "detections.csv").open()))
    numbers = [int(row["lesion"] or 0) for row in detections]
    assert numbers == [a["lesion"] or 0 for a in coco["annotations"]]
    assert len(numbers) == summary["detections"]
    assert {number for number in numbers if number} == {le["number"] for le in found}


def test_a_rerun_skips_finished_scans(output, volume, write_volume, predictor, hu):
    written = (output / "volume/manifest.json").stat().st_mtime_ns
    second = write_volume("second.nii.gz", hu[:1])
    (output / f".partial-{short_hash('second')}").mkdir()  # left by a killed process
    result = run([volume, second], predictor, output, save_score_maps=True)
    assert (result.skipped, result.done) == (["volume"], ["second"])
    assert (output / "volume/manifest.json").stat().st_mtime_ns == written
    assert sorted(p.name for p in output.iterdir()) == ["index.html", "second", "volume"]


def test_an_interrupted_scan_leaves_no_files(tmp_path, volume, predictor, monkeypatch):
    original = LesionPredictor.predict_slices

    def interrupted(self, scan):
        yield next(original(self, scan))
        raise KeyboardInterrupt

    monkeypatch.setattr(LesionPredictor, "predict_slices", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([volume], predictor, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_predictions_with_other_options_are_replaced_only_with_overwrite(
    output, volume, segmenter_file
):
    other = LesionPredictor.from_checkpoint(segmenter_file, device="cpu", score_thresh=0.9)
    with pytest.raises(UserError, match=r"volume \(other models, other options\)"):
        run([volume], other, output)
    assert read(output / "volume/summary.json")["score_thresh"] == SCORE_THRESH
    result = run([volume], other, output, overwrite=True)
    assert result.done == ["volume"]
    assert read(output / "volume/summary.json")["score_thresh"] == 0.9


def test_a_folder_without_a_prediction_is_never_replaced(tmp_path, volume, predictor):
    precious = tmp_path / "out/volume/thesis.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("years of work")
    with pytest.raises(UserError, match="not a prediction: move this folder away"):
        run([volume], predictor, tmp_path / "out", overwrite=True)
    assert precious.read_text() == "years of work"


def test_a_broken_scan_is_reported_and_the_run_goes_on(
    tmp_path, write_volume, predictor, hu, capsys
):
    good = write_volume("good.nii.gz", hu[:1])
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(good.read_bytes()[:500])
    result = run([broken, good], predictor, tmp_path / "out")
    assert result.done == ["good"]
    assert list(result.failed) == ["broken"]
    assert "broken.nii.gz" in capsys.readouterr().err
    assert not (tmp_path / "out/broken").exists()


def test_a_contradictory_header_is_reported_and_copied(
    tmp_path, write_volume, predictor, hu, capsys
):
    path = write_volume("a.nii", hu)
    straight = [-0.8, 0, 0, 0, 0, -0.7, 0, 0, 0, 0, 5, 0]
    edited(path, codes=(1, 2), sform=straight)
    run([path], predictor, tmp_path / "out")
    folder = tmp_path / "out/a"
    scan, mask = header_of(path), header_of(folder / "lesions.nii.gz")
    assert scan.forms.keys() == mask.forms.keys() == {"qform", "sform"}
    for name, form in scan.forms.items():
        np.testing.assert_array_equal(mask.forms[name], form)
    (finding,) = (f for f in read(folder / "summary.json")["qc"] if f["code"] == "two_orientations")
    assert finding["message"] in capsys.readouterr().out
    assert "contradicts itself" in (tmp_path / "out/index.html").read_text("utf-8")


def test_lesion_as_a_share_of_lung(tmp_path, volume, write_volume, predictor, hu):
    lung = write_volume("lung.nii.gz", (hu < -500).astype(np.uint8))
    run([volume], predictor, tmp_path / "out", lungs=LungSource(masks=LungMasks(lung, ("volume",))))
    folder = tmp_path / "out/volume"
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lesions.nii.gz"))) > 0
    expected = (labels & (hu < -500)).sum() / (hu < -500).sum()
    assert read(folder / "summary.json")["lesion_share_of_lung"] == pytest.approx(expected)


def test_a_lung_mask_that_does_not_fit_is_refused(tmp_path, volume, write_volume, predictor, hu):
    lung = write_volume("lung.nii.gz", (hu[:5] < -500).astype(np.uint8))
    result = run(
        [volume], predictor, tmp_path / "out", lungs=LungSource(masks=LungMasks(lung, ("volume",)))
    )
    assert "64 x 48 x 5 voxels, but its scan volume has 64 x 48 x 6" in result.failed["volume"]
    with pytest.raises(UserError, match="one file, but there are 2 scans"):
        LungMasks(lung, ("a", "b"))


def test_a_second_run_into_the_same_folder_is_refused(output, volume, predictor):
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with holding(locked_folder(output)) as pid:
        with pytest.raises(UserError, match=f"out is being written by process {pid} on "):
            run([volume], predictor, output, overwrite=True)
        assert {p: p.read_bytes() for p in before} == before
    assert run([volume], predictor, output, save_score_maps=True).skipped == ["volume"]


@pytest.mark.parametrize("same", [True, False])
def test_files_that_change_between_hashing_and_reading_are_noticed(
    tmp_path, volume, write_volume, predictor, monkeypatch, hu, same
):
    """Replacing a file by an identical one is not a change."""
    changed = write_volume("changed.nii.gz", hu[::-1])
    content = changed.read_bytes()
    shutil.copy(volume, changed)
    (hashed,) = find_scans([changed], options=ReadOptions())
    sha256 = hash_files(hashed.files)
    opened = ScanSource.open

    def replaced(self):
        changed.unlink()
        changed.write_bytes(volume.read_bytes() if same else content)
        return opened(self)

    monkeypatch.setattr(ScanSource, "open", replaced)
    result = run([changed], predictor, tmp_path / "out")
    if same:
        manifest = read(tmp_path / "out/changed/manifest.json")
        assert manifest["made_from"]["input_sha256"] == sha256
    else:
        assert "changed.nii.gz changed while the command ran" in result.failed["changed"]
        assert not (tmp_path / "out/changed").exists()


def test_links_in_the_output_folder_are_not_followed(tmp_path, output, volume, predictor):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "index.html").write_text("keep")
    (output / "index.html").unlink()
    (output / "index.html").symlink_to(foreign / "index.html")
    (output / ".index.html.partial").symlink_to(foreign / "index.html")
    run([volume], predictor, output, save_score_maps=True)
    assert (foreign / "index.html").read_text() == "keep"
    assert "<html" in (output / "index.html").read_text()


def test_a_mask_that_does_not_fit_on_the_disk_fails_the_scan(
    tmp_path, volume, predictor, monkeypatch
):
    def small_disk(*arguments):
        with files_of_at_most(100):
            write_volume(*arguments)

    monkeypatch.setattr("ct_lesion.prediction.scan_files.write_volume", small_disk)
    result = run([volume], predictor, tmp_path / "out")
    assert "File too large" in result.failed["volume"]
    assert not (tmp_path / "out/volume").exists()


def test_the_page_takes_a_small_share_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], []

    def write(*_: object) -> None:
        written.append(clock[0])
        clock[0] += 0.001 * len(written)  # longer with each scan

    monkeypatch.setattr(prediction_run, "_write_page", write)
    monkeypatch.setattr(prediction_run.time, "monotonic", lambda: clock[0])

    def work(scans: int) -> None:
        with prediction_run._page_of_finished(Path(), None) as update:
            for _ in range(scans):
                clock[0] += 0.001  # a damaged file
                update()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(5000)
    assert clock[0] < 5.0 * 1.07  # seconds: the scans, at most 5 % for the page, the last page
    assert written[0] == 0.001
    assert written[-1] >= 5.0  # an interrupted run ends with a complete page


@pytest.mark.parametrize("content", ['{"made_from": null}', "[]", "null", '{"seconds": 1}'])
def test_a_folder_with_a_foreign_manifest_is_not_a_prediction(output, volume, predictor, content):
    (output / "volume/manifest.json").write_text(content)
    with pytest.raises(UserError, match="not a prediction: move this folder away"):
        run([volume], predictor, output, save_score_maps=True)


def test_a_scan_with_a_damaged_summary_is_not_finished(output, volume, predictor):
    (output / "volume/summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"volume \(damaged: .*summary.json is not a summary"):
        run([volume], predictor, output, save_score_maps=True)


def test_foreign_folders_are_named_and_left_off_the_page(output, volume, predictor):
    shutil.copytree(output / "volume", output / "copy")
    (output / "thesis").mkdir()
    (output / "thesis/summary.json").write_text('{"title": "x"}')
    result = run([volume], predictor, output, save_score_maps=True)
    assert result.skipped == ["volume"]
    assert ["copied or renamed" in line for line in result.left_out] == [True, False]
    page = (output / "index.html").read_text("utf-8")
    assert "thesis/summary.json is not a summary of ct_lesion" in page


def test_overlays_are_numbered_like_their_captions(tmp_path, volume, predictor, monkeypatch):
    captions = []

    def draw(grey, lesions, numbers, caption, class_names):
        captions.append(caption)
        return np.repeat(grey[..., None], 3, axis=2)

    monkeypatch.setattr("ct_lesion.prediction.pictures.scan_pictures.draw_overlay", draw)
    run([volume], predictor, tmp_path / "out")
    names = sorted(path.stem for path in (tmp_path / "out/volume/overlays").iterdir())
    assert captions == [f"volume, slice {int(name)} of 0 to 5" for name in names]


def test_the_page_opens_with_the_window_of_the_models(tmp_path, volume, predictor):
    sources = find_scans([volume], options=ReadOptions(window=WINDOWS["mediastinum"]))
    predict_scans(sources, predictor, tmp_path / "out", RunOptions())
    view = (tmp_path / "out/volume/view/view.js").read_text()
    data = json.loads(json.loads(view.removeprefix("ctLesion.receive(").removesuffix(");\n")))
    assert [window["name"] for window in data["windows"]] == ["mediastinum", "lung"]


def test_names_that_are_not_utf8_are_written_as_escapes(tmp_path, volume, predictor):
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    shutil.copy(volume, folder / "scan.nii.gz")
    result = run([folder / "scan.nii.gz"], predictor, tmp_path / "out")
    assert result.done == ["scan"]
    assert read(tmp_path / "out/scan/summary.json")["source"] == str(folder / "scan.nii.gz")
    assert r"caf\udce9" in (tmp_path / "out/scan/manifest.json").read_text("utf-8")
