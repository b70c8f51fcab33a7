import math
import tracemalloc

import numpy as np
import pytest
from coco_toys import detection, make_truth, random_case

from ct_lesion.evaluation.lesion_overlap import dice_scores, lesion_froc, sensitivity_at_rates
from ct_lesion.evaluation.release_ap import ImageMatches
from ct_lesion.evaluation.segmentation_metrics import FOUND_IOU, lesion_counts


def test_dice_by_hand():
    truth = make_truth(
        {1: [(0, 0, 10), (20, 20, 10)], 2: [], 3: [], 4: [(0, 0, 10)]},
        {1: "a", 2: "a", 3: "b", 4: "c"},
    )
    found = [
        detection(1, 0.9, 0, 0, 10),  # a whole lesion
        detection(1, 0.8, 5, 0, 10),  # half on it, half beside it
        detection(2, 0.9, 0, 0, 10),  # a false detection
        detection(4, 0.5, 0, 0, 10),  # not above the threshold
    ]
    scores = dice_scores(truth, found, 0.5)
    assert scores.by_image[1] == pytest.approx(2 * 100 / (200 + 150))
    assert scores.by_image[2] == scores.by_image[4] == 0
    assert math.isnan(scores.by_image[3])
    assert scores.by_patient["a"] == pytest.approx(2 * 100 / (200 + 150 + 100))
    assert math.isnan(scores.by_patient["b"])
    assert scores.by_patient["c"] == 0


def test_froc_by_hand():
    # two slices with one lesion each, two without
    truth = make_truth(
        {1: [(0, 0, 10)], 2: [(20, 20, 10)], 3: [], 4: []}, dict.fromkeys(range(1, 5), "a")
    )
    found = [
        detection(1, 0.9, 0, 0, 10),
        detection(1, 0.8, 40, 40, 9),
        detection(3, 0.6, 0, 0, 9),
        detection(2, 0.4, 20, 20, 10),
    ]
    curve = lesion_froc(truth, found)
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.6, 0.4]
    assert curve.sensitivity.tolist() == [0.5, 0.5, 0.5, 1]
    assert curve.false_per_slice.tolist() == [0, 0.25, 0.5, 0.5]
    # at 1/8 and 1/4 false detections per slice one lesion is found, at 1/2 and above both
    assert sensitivity_at_rates(curve) == [0.5, 0.5, 1, 1, 1, 1, 1]


def test_the_iou_decides_which_lesions_are_found():
    truth = make_truth({1: [(0, 0, 10)]}, {1: "a"})
    half = [detection(1, 0.9, 5, 0, 10)]  # 50 px in common of 150: IoU 1/3
    low, high = lesion_froc(truth, half, 0.3), lesion_froc(truth, half, 0.4)
    assert (low.sensitivity.tolist(), low.false_per_slice.tolist()) == ([1], [0])
    assert (high.sensitivity.tolist(), high.false_per_slice.tolist()) == ([0], [1])


def test_each_froc_point_has_the_counts_at_its_score():
    truth, found = random_case(5)
    curve = lesion_froc(truth, found, FOUND_IOU)
    for k in (0, 3, len(curve.thresholds) - 1):
        below = np.nextafter(curve.thresholds[k], 0)  # the counts are of scores above
        counts = lesion_counts(truth, found, below).values()
        assert curve.sensitivity[k] * curve.lesions == sum(c["found"] for c in counts)
        assert curve.false_per_slice[k] * curve.slices == sum(c["false"] for c in counts)


def test_froc_without_detections_or_without_lesions():
    truth, _ = random_case(0)
    nothing = lesion_froc(truth, [])
    assert sensitivity_at_rates(nothing) == [0] * 7
    healthy = lesion_froc(make_truth({1: []}, {1: "a"}), [detection(1, 0.5, 0, 0, 5)])
    assert math.isnan(healthy.sensitivity[0])
    assert healthy.false_per_slice.tolist() == [1]
    assert all(map(math.isnan, sensitivity_at_rates(healthy)))


def test_many_scores_need_little_memory(monkeypatch):
    # a table of thresholds x scores would take 400 MB
    scores = np.linspace(1, 0.1, 20_000)
    matches = {1: ImageMatches(np.zeros((20_000, 1)), scores)}
    monkeypatch.setattr("ct_lesion.evaluation.lesion_overlap.match_images", lambda *_: matches)
    tracemalloc.start()
    curve = lesion_froc(None, [])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert curve.false_per_slice.tolist() == list(range(1, 20_001))
    assert not curve.sensitivity.any()
