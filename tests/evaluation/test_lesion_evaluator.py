"""The evaluator on datasets of other tools."""

import json
from pathlib import Path

import pytest
import torch
from coco_toys import SIDE, square
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances

from ct_lesion.data.datasets.cncb import register_cncb_lesion
from ct_lesion.evaluation.lesion_evaluator import GROUND_TRUTH_FILE, LesionEvaluator

SQUARES = [(5, 5, 12), (30, 30, 20)]  # x, y, side


def found(squares: list[tuple[int, int, int]]) -> dict:
    """The model's output for an image in which it finds these squares exactly."""
    masks = torch.zeros(len(squares), SIDE, SIDE, dtype=torch.bool)
    for mask, (x, y, side) in zip(masks, squares, strict=True):
        mask[y : y + side, x : x + side] = True
    boxes = torch.tensor([[x, y, x + side, y + side] for x, y, side in squares]).float()
    instances = Instances((SIDE, SIDE), pred_boxes=Boxes(boxes), pred_masks=masks)
    instances.scores = torch.full((len(squares),), 0.9)
    instances.pred_classes = torch.zeros(len(squares), dtype=torch.long)
    return {"instances": instances}


@pytest.mark.parametrize(
    "form",
    [
        lambda number, area: {"id": number, "area": area, "iscrowd": 0},  # 0 is "no match"
        lambda number, area: {"id": number + 1, "iscrowd": 0},
        lambda number, area: {"id": number + 1, "area": area},
        lambda number, area: {"id": number + 1, "area": 0, "iscrowd": None},
        lambda number, area: {"id": str(number), "area": None, "image_id": "1"},
    ],
    ids=["numbered from 0", "no area", "no iscrowd", "area of 0", "ids in text"],
)
def test_lesions_that_are_found_exactly_give_an_ap_of_100(tmp_path: Path, form) -> None:
    annotations = [
        {"image_id": 1, "category_id": 1, "bbox": [x, y, side, side]}
        | {"segmentation": square(x, y, side)}
        | form(number, side**2)
        for number, (x, y, side) in enumerate(SQUARES)
    ]
    content = {
        "images": [{"id": 1, "file_name": "1.png", "height": SIDE, "width": SIDE}],
        "categories": [{"id": 1, "name": "Lesion"}],
        "annotations": annotations,
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    register_cncb_lesion("from_a_tool", str(tmp_path / "coco.json"), str(tmp_path))
    try:
        records = DatasetCatalog.get("from_a_tool")
        evaluator = LesionEvaluator("from_a_tool", str(tmp_path / "out"))
        evaluator.reset()
        evaluator.process(records, [found(SQUARES)])
        results = evaluator.evaluate()
    finally:
        DatasetCatalog.remove("from_a_tool")
        MetadataCatalog.remove("from_a_tool")
    for task in ("bbox", "segm"):
        # 144 and 400 pixels are small to COCO: below 32 x 32
        assert (results[task]["AP"], results[task]["APs"]) == (pytest.approx(100),) * 2
    truth = json.loads((tmp_path / "out" / GROUND_TRUTH_FILE).read_text())
    assert [a["id"] for a in truth["annotations"]] == [1, 2]
    assert [a["area"] for a in truth["annotations"]] == [144, 400]
