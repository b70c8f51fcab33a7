"""Models get slices made like their training images; doubts are reported."""

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from ct_lesion import LesionPredictor
from ct_lesion.checkpoint import config_from_description, read_checkpoint, write_weights
from ct_lesion.errors import ConfigError
from ct_lesion.prediction.input_window import UNRECORDED, with_window_remarks
from ct_lesion.prediction.models import load_segmenter
from ct_lesion.prediction.run import RunOptions, predict_scans
from ct_lesion.scans.array import scan_from_array
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import find_scans
from ct_lesion.scans.windows import UNKNOWN, WINDOWS, Window

EQUALISED = Window(1023.5, 4095, clahe=7)
SHRUNK = replace(EQUALISED, side=32)


def trained_on(predictor: LesionPredictor, *windows: Window) -> LesionPredictor:
    """The same models, with training images made with these windows."""
    models = (replace(m, window=w) for m, w in zip(predictor.models, windows, strict=False))
    return LesionPredictor(*models)


def equalised(hu: np.ndarray) -> np.ndarray:
    """-1024 to 3071 HU mapped to 0..255, then CLAHE, with OpenCV directly."""
    grey = np.rint((hu.astype(float).clip(-1024) + 1024) * 255 / 4095).astype(np.uint8)
    return np.stack([cv2.createCLAHE(7, (8, 8)).apply(z) for z in grey])


def test_slices_are_windowed_and_equalised_as_for_training(predictor, hu):
    found = trained_on(predictor, EQUALISED, EQUALISED)(hu, is_hu=True)
    expected = predictor(equalised(hu))
    assert np.array_equal(found.mask, expected.mask)
    assert [s.logits for s in found.slices] == [s.logits for s in expected.slices]
    assert not np.array_equal(found.mask, predictor(hu, is_hu=True).mask)


def test_shrunk_slices_give_masks_and_boxes_in_pixels_of_the_scan(predictor, hu):
    found = trained_on(predictor, SHRUNK, SHRUNK)(hu, is_hu=True)
    # slices of 48 x 64 px are shrunk to 32 x 43
    small = np.stack([cv2.resize(z, (43, 32), None, 0, 0, cv2.INTER_CUBIC) for z in equalised(hu)])
    expected = predictor(small)
    assert found.mask.shape == hu.shape and found.mask.any()
    scale = np.array([64 / 43, 48 / 32, 64 / 43, 48 / 32])
    for ours, theirs in zip(found.slices, expected.slices, strict=True):
        assert ours.logits == theirs.logits
        boxes = {d.score: np.array(d.box) for d in ours.detections}
        for d in theirs.detections:
            np.testing.assert_allclose(boxes[d.score], d.box * scale, atol=1e-3)
        for d in ours.detections:
            rows, columns = np.nonzero(d.mask)
            x0, y0, x1, y1 = d.box
            assert x0 - 1 <= columns.min() and columns.max() <= x1
            assert y0 - 1 <= rows.min() and rows.max() <= y1


def test_each_model_gets_its_own_slices(predictor, hu):
    mixed = trained_on(predictor, SHRUNK, WINDOWS["bone"])(hu, is_hu=True)
    lesions = trained_on(predictor, SHRUNK, SHRUNK)(hu, is_hu=True)
    classes = trained_on(predictor, WINDOWS["bone"], WINDOWS["bone"])(hu, is_hu=True)
    assert np.array_equal(mixed.mask, lesions.mask)
    assert [s.logits for s in mixed.slices] == [s.logits for s in classes.slices]
    summary = mixed.summary()
    assert summary["windows"]["segmentation"] == SHRUNK.as_dict()
    assert summary["windows"]["classification"]["level"] == 400
    given = replace(scan_from_array(hu, is_hu=True), window=WINDOWS["bone"])
    models = trained_on(predictor, SHRUNK, WINDOWS["bone"]).models
    first, second = with_window_remarks(given, models).notes[-2:]
    assert first.startswith("segmenter: ") and "CLAHE" in first
    assert second.startswith("classifier: ") and "CLAHE" not in second


def test_a_score_map_is_of_shrunk_slices_in_pixels_of_the_scan(predictor, hu):
    ours = trained_on(predictor, SHRUNK, SHRUNK)
    scan = scan_from_array(hu, is_hu=True)
    prediction, grey = next(s for s in ours.predict_slices(scan) if s[0].detections)
    assert grey.shape == (48, 64)
    logits = ours.score_map(scan, grey)
    assert logits.shape == (48, 64)
    union = prediction.label_mask(48, 64) > 0
    assert (np.nan_to_num(logits, nan=-1)[union] > -1e-3).mean() > 0.95


@pytest.mark.parametrize(
    ("trained", "given", "is_hu", "text", "is_warning"),
    [
        (EQUALISED, WINDOWS["lung"], True, "given window lung .* but the model's .* CLAHE", False),
        (EQUALISED, EQUALISED, True, "given window level 1023.5[^;]* limit 7$", False),
        (UNKNOWN, WINDOWS["bone"], True, r"given window bone \(level 400, width 1800\)$", False),
        (UNKNOWN, None, True, r"does not record .*: the window lung .* is a guess", True),
        (EQUALISED, None, False, "images were made with the window .* made in the same way", False),
        (UNKNOWN, None, False, "does not record .* made in the same way", False),
    ],
)
def test_remarks_about_the_window(predictor, hu, trained, given, is_hu, text, is_warning):
    values = hu if is_hu else WINDOWS["lung"].grey(hu)
    scan = scan_from_array(values, is_hu=is_hu or None, window=given)
    models = trained_on(predictor, trained, trained).models
    remarked = with_window_remarks(scan, models)
    warnings = [f.message for f in remarked.qc if f.code == UNRECORDED]
    notes = remarked.notes[len(scan.notes) :]
    assert (len(notes), len(warnings)) == (not is_warning, is_warning)
    assert re.search(text, (notes + warnings)[0])


def test_slices_made_as_for_training_need_no_remark(predictor, hu):
    scan = scan_from_array(hu, is_hu=True)
    same = with_window_remarks(scan, trained_on(predictor, SHRUNK, WINDOWS["bone"]).models)
    assert same.notes == scan.notes and UNRECORDED not in {f.code for f in same.qc}


def test_saturation_is_that_of_the_models_window(predictor, hu):
    dark = Window(-1000, 100)  # the body, 40 HU, is white and the lung, -850 HU, too
    scan = scan_from_array(hu, is_hu=True)
    assert "saturated" not in {f.code for f in scan.qc}
    remarked = with_window_remarks(scan, trained_on(predictor, dark, dark).models)
    (message,) = [f.message for f in remarked.qc if f.code == "saturated"]
    assert "the window level -1000, width 100 shows" in message
    given = scan_from_array(hu, is_hu=True, window=dark)
    lung = with_window_remarks(given, trained_on(predictor, UNKNOWN, UNKNOWN).models)
    assert [f.code for f in lung.qc].count("saturated") == 1


def test_an_unknown_window_is_a_warning_in_the_terminal_the_summary_and_the_page(
    predictor, volume, tmp_path, capsys
):
    warning = "the model does not record how its training images were made"
    shrunk = trained_on(predictor, SHRUNK, SHRUNK)
    for models, is_warned, in_view in (
        (predictor, True, ["lung", "mediastinum"]),
        (shrunk, False, ["model input", "lung", "mediastinum"]),
    ):
        output = tmp_path / str(len(in_view))
        sources = find_scans([volume], options=ReadOptions())
        predict_scans(sources, models, output, RunOptions())
        assert (f"warning: {warning}" in capsys.readouterr().out) == is_warned
        page = (output / "index.html").read_text("utf-8")
        summary = json.loads((output / "volume/summary.json").read_text("utf-8"))
        manifest = json.loads((output / "volume/manifest.json").read_text("utf-8"))
        for record in (summary, manifest):
            found = " ".join(f["message"] for f in record["qc"])
            assert (warning in found) == is_warned
        assert (warning in page) == is_warned
        assert is_warned or SHRUNK.label in page
        view = (output / "volume/view/view.js").read_text("utf-8")
        windows = json.loads(json.loads(view.removeprefix("ctLesion.receive(")[:-3]))["windows"]
        assert [w["name"] for w in windows] == in_view
        assert (windows[0]["level"] is None) == (windows[0]["name"] not in WINDOWS)


def test_the_window_comes_from_the_checkpoint_or_its_overrides(segmenter_file):
    assert load_segmenter(segmenter_file, device="cpu").window == UNKNOWN
    overrides = ["INPUT.WINDOW.KIND", "range", "INPUT.WINDOW.CLAHE", "7.0"]
    model = load_segmenter(segmenter_file, device="cpu", overrides=overrides)
    assert model.window == Window(kind="range", clahe=7)
    with pytest.raises(ConfigError, match=r"INPUT\.WINDOW: width is 0"):
        load_segmenter(segmenter_file, device="cpu", overrides=["INPUT.WINDOW.KIND", "fixed"])


def test_a_config_file_without_a_window_leaves_the_weights_own(segmenter_file, tmp_path):
    weights = read_checkpoint(segmenter_file)
    cfg = config_from_description(weights.description)
    Window(kind="range").into_config(cfg)
    description = {**weights.description, "config": cfg.dump()}
    path = tmp_path / "windowed.safetensors"
    write_weights(path, weights.model, description)
    UNKNOWN.into_config(cfg)
    (tmp_path / "mine.yaml").write_text(cfg.dump())
    model = load_segmenter(path, device="cpu", config_file=str(tmp_path / "mine.yaml"))
    assert model.window == Window(kind="range")
