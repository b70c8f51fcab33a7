import contextlib
import io

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from ct_lesion.report.figures.segmentation_figure import (
    choose_slices,
    describe_slices,
    segmentation_figure,
)


def square(side: int) -> dict:
    mask = np.zeros((32, 32), np.uint8, order="F")
    mask[4 : 4 + side, 4 : 4 + side] = 1
    rle = coco_mask.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


@pytest.fixture
def truth() -> COCO:
    """Patients a and b with slices of lesion areas 25, 100, 400 and none, and 64."""
    sides = {1: 5, 2: 10, 3: 20, 4: None, 5: 8}
    patients = {1: "a", 2: "a", 3: "a", 4: "a", 5: "b"}
    coco = COCO()
    coco.dataset = {
        "info": {},
        "categories": [{"id": 1, "name": "Lesion"}],
        "images": [
            {"id": i, "height": 32, "width": 32, "patient": p, "file_name": f"{p}/{i}.jpg"}
            for i, p in patients.items()
        ],
        "annotations": [
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [4, 4, side, side],
                "area": side * side,
                "segmentation": square(side),
                "iscrowd": 0,
            }
            for i, side in sides.items()
            if side
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


DETECTIONS = [
    {"image_id": 2, "category_id": 1, "score": 0.9, "segmentation": square(10)},
    {"image_id": 2, "category_id": 1, "score": 0.2, "segmentation": square(3)},
    {"image_id": 4, "category_id": 1, "score": 0.8, "segmentation": square(6)},
]


def test_patients_take_turns_from_their_median_slice_to_the_lesion_free(truth):
    assert choose_slices(truth, 2) == [2, 5]
    everything = choose_slices(truth, 9)
    assert sorted(everything) == [1, 2, 3, 4, 5]
    assert everything[-1] == 4


def test_pictures_hold_detections_above_the_score(truth):
    images = dict.fromkeys((2, 4), np.zeros((32, 32), np.uint8))
    found, empty = describe_slices(truth, DETECTIONS, [2, 4], images, score_threshold=0.5)
    assert (len(found.truth), found.scores) == (1, [0.9])
    assert (found.title, found.summary) == ("patient a, 2", "1 of 1 found, 0 false")
    assert empty.truth == []
    assert empty.summary == "0 of 0 found, 1 false"


def test_two_slices_per_row_and_the_disclaimer(truth):
    images = dict.fromkeys(range(1, 6), np.zeros((32, 32), np.uint8))
    pictures = describe_slices(truth, DETECTIONS, [1, 2, 4], images, 0.5)
    figure = segmentation_figure(pictures, 0.5)
    assert len(figure.axes) == 12
    assert "Not for clinical use" in figure.get_suptitle()
    shown = [axis for axis in figure.axes if axis.images]
    assert len(shown) == 9
    # one outline per slice with a lesion, and one per detection in slices 2 and 4
    assert sum(len(axis.collections) for axis in figure.axes) == 4
    assert [t.get_text() for axis in figure.axes for t in axis.texts] == ["0.90", "0.80"]
