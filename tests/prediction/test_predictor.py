import numpy as np
import pytest
import SimpleITK as sitk
from readme import readme_example
from toy_checkpoints import SCORE_THRESH

from ct_lesion import LesionPredictor
from ct_lesion.errors import CheckpointError, ConfigError, DatasetError
from ct_lesion.prediction.models import load_classifier, load_segmenter
from ct_lesion.scans.windows import window_to_uint8


def test_a_scan_has_a_prediction_of_each_slice(prediction, hu):
    assert [s.index for s in prediction.slices] == list(range(6))
    assert any(s.detections for s in prediction.slices), "an untrained model scores about a half"
    assert all(d.score > SCORE_THRESH for s in prediction.slices for d in s.detections)
    assert prediction.mask.shape == hu.shape
    assert set(np.unique(prediction.mask)) <= {0, 1}
    summary = prediction.summary()
    assert summary["lesion_volume_ml"] == pytest.approx((prediction.mask > 0).sum() * 5 / 1000)
    assert summary["class"] in summary["class_names"]
    assert sum(summary["probabilities"].values()) == pytest.approx(1)


def test_predictions_do_not_depend_on_the_batch_size(prediction, predictor, hu):
    single = LesionPredictor(predictor.segmenter, predictor.classifier, batch_size=1)
    for a, b in zip(prediction.slices, single(hu, is_hu=True).slices, strict=True):
        assert [d.score for d in a.detections] == pytest.approx(
            [d.score for d in b.detections], abs=1e-5
        )
        assert a.logits == pytest.approx(b.logits, abs=1e-4)


def test_the_fast_path_predicts_the_same(prediction, segmenter_file, hu):
    plain = load_segmenter(
        segmenter_file,
        device="cpu",
        score_thresh=SCORE_THRESH,
        overrides=["MODEL.FAST_PATH", "off"],
    )
    assert plain.network is plain.model
    for a, b in zip(prediction.slices, LesionPredictor(plain)(hu, is_hu=True).slices, strict=True):
        assert [d.score for d in a.detections] == pytest.approx(
            [d.score for d in b.detections], abs=1e-4
        )


def test_hu_and_their_windowed_image_have_the_same_mask(prediction, predictor, hu):
    grey = predictor(window_to_uint8(hu))
    assert grey.summary()["lesion_volume_ml"] is None, "pictures have no spacing"
    assert np.array_equal(grey.mask, prediction.mask)


def test_an_array_without_window_or_unit_is_refused(predictor, hu):
    with pytest.raises(DatasetError, match="HU"):
        predictor(hu)


def test_a_segmenter_alone_gives_no_class(segmenter_file, hu):
    predictor = LesionPredictor.from_checkpoint(segmenter_file, device="cpu")
    assert predictor.score_thresh == 0.75, "the paper's threshold"
    summary = predictor(hu[:1], is_hu=True).summary()
    assert summary["class"] is summary["probabilities"] is summary["rule"] is None
    assert summary["lesions"] == 0, "untrained scores are near 0.5"
    assert summary["lesion_slice_range"] is None


def test_a_score_map_covers_the_regions(predictor, prediction):
    found = next(s for s in prediction.slices if s.detections)
    logits = predictor.score_map(prediction.scan, prediction.scan.grey(found.index))
    assert logits.shape == prediction.scan.shape[1:]
    union = found.label_mask(*logits.shape) > 0
    assert (np.nan_to_num(logits, nan=-1)[union] > -1e-3).mean() > 0.95


def test_wrong_checkpoints_are_refused(segmenter_file, classifier_file):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_segmenter("nowhere.safetensors")
    with pytest.raises(CheckpointError, match="not a lesion segmenter"):
        load_segmenter(classifier_file, device="cpu")
    with pytest.raises(CheckpointError, match="not a classifier"):
        load_classifier(segmenter_file, device="cpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"device": "tpu-no"}, "unknown device"), ({"score_thresh": 1.5}, "threshold is 1.5")],
)
def test_wrong_options_are_refused(options, message, segmenter_file):
    with pytest.raises(ConfigError, match=message):
        LesionPredictor.from_checkpoint(segmenter_file, **{"device": "cpu", **options})


def test_the_readmes_example_runs_with_the_shipped_model(hu, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sitk.WriteImage(sitk.GetImageFromArray(hu), "scan.nii.gz")
    names = {}
    exec(readme_example("LesionPredictor"), names)
    assert names["mask"].shape == hu.shape
    summary = names["prediction"].summary()
    assert str(summary["lesion_volume_ml"]) in capsys.readouterr().out
    model = summary["models"]["segmentation"]
    assert model["name"] == "public_ct_resnet18_t1"
    assert "12 COVID-19 patients" in model["trained_on"]
    assert model["licence"].startswith("CC BY-NC-SA 4.0")
