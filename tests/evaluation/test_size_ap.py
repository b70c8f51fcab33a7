import numpy as np
import pytest
from coco_toys import detection, make_truth

from ct_lesion.evaluation.size_ap import ap_by_size

# six lesions of areas 25 to 225; only the two largest are detected, exactly
SIDES = (5, 6, 8, 10, 12, 15)


@pytest.fixture
def truth():
    return make_truth({i: [(0, 0, s)] for i, s in enumerate(SIDES)}, dict(enumerate("aabbcc")))


def test_a_third_of_the_lesions_each(truth):
    found = [detection(4, 0.9, 0, 0, 12), detection(5, 0.8, 0, 0, 15)]
    groups = ap_by_size(truth, found)
    assert [(g.name, g.low, g.high, g.lesions) for g in groups] == [
        ("small", 25, 36, 2),
        ("medium", 64, 100, 2),
        ("large", 144, 225, 2),
    ]
    assert [g.ap for g in groups] == pytest.approx([0, 0, 1])


def test_false_detections_of_another_size_do_not_count(truth):
    found = [detection(4, 0.5, 0, 0, 12), detection(5, 0.5, 0, 0, 15)]
    false = [detection(4, 0.9, 40, 40, 5)]
    assert ap_by_size(truth, found + false)[2].ap == pytest.approx(1)


def test_equal_lesions_are_one_group_and_no_lesions_none():
    equal = make_truth({1: [(0, 0, 5), (20, 20, 5), (40, 40, 5)]}, {1: "a"})
    groups = ap_by_size(equal, [])
    assert [g.lesions for g in groups] == [3, 0, 0]
    assert groups[0].ap == 0
    assert np.isnan(groups[1].ap)
    assert ap_by_size(make_truth({1: []}, {1: "a"}), []) == []
