"""The evaluator on a ground truth of two slices, with detections made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_toys import SIDE, make_truth
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from ct_lesion.evaluation import LesionEvaluator

NAME = "evaluator_toy"
LESION = (10, 10, 20)  # of slice 1; slice 2 has none


@pytest.fixture(params=[True, False], ids=["a lesion", "no lesion"])
def has_lesion(request, tmp_path):
    truth = make_truth({1: [LESION]} if request.param else {}, {1: "a", 2: "b"})
    (tmp_path / "toy.json").write_text(json.dumps(truth.dataset))
    DatasetCatalog.register(NAME, list)
    MetadataCatalog.get(NAME).set(
        json_file=str(tmp_path / "toy.json"),
        thing_classes=["Lesion"],
        thing_dataset_id_to_contiguous_id={1: 0},
    )
    yield request.param
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def evaluate(folder: Path, squares: list[tuple[int, int, int]], limit: int = 100) -> dict:
    """Metrics with these detections in slice 1, by decreasing score, and no others."""
    evaluator = LesionEvaluator(NAME, str(folder), max_dets_per_image=limit, score_threshold=0.0)
    evaluator.reset()
    for image_id in (1, 2):
        found = squares if image_id == 1 else []
        instances = Instances((SIDE, SIDE))
        corners = [[x, y, x + side, y + side] for x, y, side in found]
        instances.pred_boxes = Boxes(torch.tensor(corners).float().reshape(-1, 4))
        instances.scores = torch.linspace(0.9, 0.1, len(found))
        instances.pred_classes = torch.zeros(len(found), dtype=torch.long)
        instances.pred_masks = torch.zeros(len(found), SIDE, SIDE, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(instances.pred_masks, corners, strict=True):
            mask[y0:y1, x0:x1] = True
        evaluator.process([{"image_id": image_id}], [{"instances": instances}])
    results = evaluator.evaluate()
    written = json.loads((folder / "segmentation_metrics.json").read_text())
    return {"returned": results, "written": written}


@pytest.mark.parametrize("squares", [[], [(40, 40, 5)]], ids=["no detection", "false detection"])
def test_ap_is_zero_with_lesions_and_undefined_without(tmp_path, has_lesion, squares):
    found = evaluate(tmp_path, squares)
    expected = 0.0 if has_lesion else float("nan")
    for task in ("bbox", "segm"):
        metrics = found["returned"][task]
        # the lesion has 400 px, so it is small by COCO's sizes
        named = {key: metrics[key] for key in ("AP", "AP50", "AP75", "APs")}
        assert named == pytest.approx(dict.fromkeys(named, expected), nan_ok=True)
        assert np.isnan([metrics["APm"], metrics["APl"]]).all()
    table = found["written"]["paper_table_2"]
    undefined = {"AP": None, "AP50": None, "AP75": None}
    assert table["coco"] == (dict.fromkeys(undefined, 0.0) if has_lesion else undefined)
    assert (table["release"] == undefined) == (not has_lesion)
    assert found["written"]["patients"]["b"]["AP"] is None


def test_our_ap_counts_as_many_detections_as_detectron2(tmp_path, has_lesion):
    # the lesion is found by the last of 150 detections: precision 1/150
    squares = [*[(40, 40, 5)] * 149, LESION]
    for limit, ap in ((150, 1 / 150), (128, 0.0)):
        found = evaluate(tmp_path, squares, limit)
        ap = ap if has_lesion else float("nan")
        assert found["returned"]["segm"]["AP"] == pytest.approx(100 * ap, nan_ok=True)
        ours = found["written"]["paper_table_2"]["coco"]["AP"]
        assert ours == (pytest.approx(ap) if has_lesion else None)
        assert found["written"]["max_detections"] == limit
