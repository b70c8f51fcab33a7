import math

import pytest
from coco_toys import detection, make_truth

from ct_lesion.evaluation.lesion_overlap import dice_scores


def test_a_case_by_hand():
    truth = make_truth(
        {1: [(0, 0, 10), (20, 20, 10)], 2: [], 3: [], 4: [(0, 0, 10)]},
        {1: "a", 2: "a", 3: "b", 4: "c"},
    )
    found = [
        detection(1, 0.9, 0, 0, 10),  # a whole lesion
        detection(1, 0.8, 5, 0, 10),  # half on it, half beside it
        detection(2, 0.9, 0, 0, 10),  # where there is none
        detection(4, 0.5, 0, 0, 10),  # not above the threshold
    ]
    scores = dice_scores(truth, found, 0.5)
    assert scores.by_image[1] == pytest.approx(2 * 100 / (200 + 150))
    assert scores.by_image[2] == scores.by_image[4] == 0
    assert math.isnan(scores.by_image[3])
    assert scores.by_patient["a"] == pytest.approx(2 * 100 / (200 + 150 + 100))
    assert math.isnan(scores.by_patient["b"])
    assert scores.by_patient["c"] == 0
