"""A ground truth of two patients, and detections whose AP is known."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ct_lesion.evaluation.mask_ap import MaskAP
from ct_lesion.evaluation.segmentation_metrics import (
    above_score,
    ap_by_patient,
    best_of_each_image,
    lesion_counts,
    match_images,
    release_ap,
)


def rectangle(x: int, y: int, width: int, height: int) -> dict:
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    rle = coco_mask.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def lesion(number: int, image: int, box: tuple[int, int, int, int], category: int = 1) -> dict:
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "area": box[2] * box[3],
        "segmentation": rectangle(*box),
        "iscrowd": 0,
    }


def detection(image: int, box: tuple[int, int, int, int], score: float, category: int = 1) -> dict:
    return {
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "score": score,
        "segmentation": rectangle(*box),
    }


@pytest.fixture
def truth() -> COCO:
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [
            {"id": 1, "height": 64, "width": 64, "patient": "a"},
            {"id": 2, "height": 64, "width": 64, "patient": "b"},
            {"id": 3, "height": 64, "width": 64, "patient": "b"},
            {"id": 4, "height": 64, "width": 64, "patient": "c"},
        ],
        "annotations": [
            lesion(1, 1, (0, 0, 20, 20)),
            lesion(2, 1, (30, 30, 20, 20)),
            lesion(3, 2, (10, 10, 20, 20)),
        ],
        "categories": [{"id": 1, "name": "Lesion"}, {"id": 2, "name": "Other"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


PERFECT = [
    detection(1, (0, 0, 20, 20), 0.9),
    detection(1, (30, 30, 20, 20), 0.8),
    detection(2, (10, 10, 20, 20), 0.7),
]


def test_perfect_detections_have_ap_one(truth):
    assert MaskAP(truth, PERFECT).of() == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1})


def test_ap_is_zero_without_detections_and_nan_without_lesions(truth):
    assert MaskAP(truth, []).of() == {"AP": 0, "AP50": 0, "AP75": 0}
    assert np.isnan(MaskAP(truth, PERFECT, image_ids=[3, 4]).of()["AP"])


def test_ap_of_a_partial_overlap_by_hand(truth):
    # 20 x 20 against 20 x 15 of it: IoU 0.75, which passes 0.5 to 0.75, six of ten thresholds
    detections = [detection(2, (10, 10, 20, 15), 0.9)]
    result = MaskAP(truth, detections, image_ids=[2]).of()
    assert result == pytest.approx({"AP": 0.6, "AP50": 1.0, "AP75": 1.0})


@pytest.mark.parametrize(("limit", "ap"), [(200, 1 / 150), (128, 0)])
def test_detections_count_up_to_the_limit_by_hand(truth, limit, ap):
    # the lesion of image 2 is found by the last of 150 detections: precision 1/150 at full recall
    false = [detection(2, (40, 40, 5, 5), 0.5 + i / 1000) for i in range(149)]
    detections = [detection(2, (10, 10, 20, 20), 0.1), *false]
    best = best_of_each_image(detections, limit)
    assert len(best) == min(limit, 150)
    assert MaskAP(truth, best, image_ids=[2]).of()["AP"] == pytest.approx(ap)


def test_the_limit_applies_to_each_image_and_class():
    detections = [
        detection(1, (0, 0, 5, 5), 0.2),
        detection(1, (0, 0, 6, 6), 0.9),
        detection(1, (0, 0, 5, 5), 0.1, category=2),
        detection(2, (0, 0, 5, 5), 0.3),
    ]
    assert best_of_each_image(detections, 1) == detections[1:]


def test_lesions_may_be_polygons(truth):
    square = [10, 10, 30, 10, 30, 30, 10, 30]
    truth.anns[3]["segmentation"] = [square]
    assert match_images(truth, PERFECT)[2].ious.tolist() == [[1.0]]


def test_a_score_at_the_threshold_is_not_above_it(truth):
    assert [d["score"] for d in above_score(PERFECT, 0.8)] == [0.9]


def test_release_ap_averages_images(truth):
    # above 0.75: image 1 complete (1), image 2 missed (0), images 3 and 4 empty (1 and 1)
    assert release_ap(truth, PERFECT, 0.75) == pytest.approx(
        {"AP50": 0.75, "AP75": 0.75, "AP": 0.75}
    )


def test_detections_match_lesions_of_their_class_only(truth):
    matches = match_images(truth, [detection(2, (10, 10, 20, 20), 0.9, category=2)])
    assert matches[2].ious.tolist() == [[0.0]]


def test_lesions_found_and_false_detections_are_counted(truth):
    detections = [*PERFECT, detection(3, (0, 0, 5, 5), 0.95), detection(1, (1, 0, 20, 20), 0.85)]
    counts = lesion_counts(truth, detections, 0.75)
    assert counts[1] == {"lesions": 2, "found": 2, "false": 0}
    assert counts[2] == {"lesions": 1, "found": 0, "false": 0}
    assert counts[3] == {"lesions": 0, "found": 0, "false": 1}


def test_each_patient_has_an_ap(truth):
    by_patient = ap_by_patient(truth, PERFECT[:1])
    assert by_patient["a"]["slices"] == 1
    # one of two lesions found: recall up to 0.5 of COCO's 101 points
    assert by_patient["a"]["AP"] == pytest.approx(51 / 101)
    assert by_patient["b"]["AP"] == 0
    assert np.isnan(by_patient["c"]["AP"])
