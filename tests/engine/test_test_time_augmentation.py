"""``TEST.AUG``: a single plain view changes nothing; a mirrored slice has mirrored detections."""

import json
import logging

import pytest
import torch
from detectron2.modeling import build_model

from ct_lesion.engine.test_time_augmentation import (
    augmentation_remarks,
    log_gain,
    with_augmentation,
)
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.fast.inference import fast_inference

SIZE = 64
AUG = {
    "TEST.AUG.ENABLED": True,
    "TEST.AUG.MIN_SIZES": (SIZE,),
    "TEST.AUG.FLIP": False,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
}


def random_segmenter(cfg) -> torch.nn.Module:
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("cls_score.weight", "bbox_pred.weight", "objectness_logits.weight")):
                parameter.mul_(30)
    return model


def test_one_view_of_the_same_size_is_the_plain_evaluation(toy_cfg, tmp_path, caplog) -> None:
    # the second NMS, which merges the views, removes nothing
    cfg = toy_cfg(**AUG)
    model = random_segmenter(cfg)
    plain = LesionTrainer.test(cfg, model)
    augmented = LesionTrainer.test_with_TTA(cfg, model)
    assert set(augmented) == {"bbox_TTA", "segm_TTA"}
    folders = [
        tmp_path / "run" / name / "cncb_lesion_test" for name in ("inference", "inference_TTA")
    ]
    found, again = (
        json.loads((f / "coco_instances_results.json").read_text("utf-8")) for f in folders
    )
    assert len(found) == len(again) > 20
    for before, after in zip(found, again, strict=True):
        assert after["image_id"] == before["image_id"]
        assert after["category_id"] == before["category_id"]
        assert after["bbox"] == pytest.approx(before["bbox"], abs=1e-3)
        assert after["score"] == pytest.approx(before["score"], abs=1e-6)
    records = [json.loads((f / "evaluation.json").read_text("utf-8")) for f in folders]
    assert records[0]["weights_sha256"] == records[1]["weights_sha256"]
    assert records[0]["test_time_augmentation"] is None
    assert records[1]["test_time_augmentation"] == {
        "min_sizes": [SIZE],
        "max_size": 4000,
        "flip": False,
    }
    with caplog.at_level(logging.INFO, "ct_lesion.engine.test_time_augmentation"):
        log_gain(cfg, plain, augmented)
    assert f"segm/AP   |    {plain['segm']['AP']:.2f} |" in caplog.text


@torch.no_grad()
def test_a_mirrored_slice_has_mirrored_lesions(toy_cfg) -> None:
    overrides = {"TEST.AUG.FLIP": True, "TEST.AUG.MIN_SIZES": (48, SIZE)}
    cfg = toy_cfg(**{**AUG, **overrides})
    model = fast_inference(
        random_segmenter(cfg), cfg, around=lambda model: with_augmentation(model, cfg)
    )
    image = torch.randint(256, (3, SIZE, SIZE), generator=torch.Generator().manual_seed(1))
    image = image.to(torch.uint8)
    item = {"image": image, "height": SIZE, "width": SIZE}
    one, other = (output["instances"] for output in model([item, {**item, "image": image.flip(2)}]))
    assert len(one) == len(other) > 5
    order, mirrored = (torch.argsort(found.scores, descending=True) for found in (one, other))
    torch.testing.assert_close(one.scores[order], other.scores[mirrored], atol=1e-5, rtol=0)
    boxes = other.pred_boxes.tensor[mirrored]
    boxes = torch.stack([SIZE - boxes[:, 2], boxes[:, 1], SIZE - boxes[:, 0], boxes[:, 3]], 1)
    torch.testing.assert_close(one.pred_boxes.tensor[order], boxes, atol=1e-3, rtol=0)
    masks = other.pred_masks[mirrored].flip(2)
    assert (one.pred_masks[order] != masks).float().mean() < 1e-3
    assert masks.any()


@torch.no_grad()
def test_a_slice_without_detections(toy_cfg) -> None:
    cfg = toy_cfg(**{**AUG, "TEST.AUG.FLIP": True, "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 1.0})
    model = with_augmentation(random_segmenter(cfg), cfg)
    image = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    (output,) = model([{"image": image, "height": SIZE, "width": SIZE}])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_masks.shape == (0, SIZE, SIZE)


def test_training_ignores_it_and_a_classifier_refuses_it(toy_cfg, toy_classifier_cfg) -> None:
    assert augmentation_remarks(toy_cfg(), training=True) == []
    assert augmentation_remarks(toy_cfg(**AUG), training=False) == []
    (remark,) = augmentation_remarks(toy_cfg(**AUG), training=True)
    assert "--eval-only" in remark
    cfg = toy_classifier_cfg(**{"TEST.AUG.ENABLED": True})
    with pytest.raises(ConfigError, match=r"TEST\.AUG\.ENABLED is True, but .* for segmenters"):
        augmentation_remarks(cfg, training=False)
