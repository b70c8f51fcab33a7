import contextlib
import io

import numpy as np
import pytest
from coco_toys import detection, make_truth, random_case
from pycocotools.cocoeval import COCOeval

from ct_lesion.evaluation.mask_ap import (
    MaskAP,
    ap_by_size,
    ap_difference,
    ap_intervals,
    patients_of,
)

# six lesions of areas 25 to 225
SIDES = (5, 6, 8, 10, 12, 15)


def pycocotools_ap(truth, detections) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(detections), "segm")
        evaluation.params.maxDets = [1, 10, 100]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:3].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_ap_of_all_images_is_that_of_pycocotools(seed):
    truth, detections = random_case(seed)
    found = MaskAP(truth, detections).of()  # no image has 100 detections
    assert list(found.values()) == pytest.approx(pycocotools_ap(truth, detections))


def test_repeated_images_count_as_further_images():
    truth, detections = random_case(0)
    # the same case with each image, lesion and detection duplicated
    copies = {i: i + 100 for i in truth.imgs}
    double = make_truth(
        {
            j: [tuple(map(int, a["bbox"][:3])) for a in truth.imgToAnns[i]]
            for i, c in copies.items()
            for j in (i, c)
        },
        {j: "p" for pair in copies.items() for j in pair},
    )
    twice = detections + [{**d, "image_id": copies[d["image_id"]]} for d in detections]
    indices = np.tile(np.arange(len(truth.imgs)), 2)
    expected = MaskAP(double, twice).of()
    assert MaskAP(truth, detections).of(indices) == pytest.approx(expected)


def test_selected_images_are_evaluated_as_if_there_were_no_others():
    truth, detections = random_case(1)
    evaluation = MaskAP(truth, detections)
    chosen = [2, 5, 6]
    ids = [evaluation.image_ids[i] for i in chosen]
    assert evaluation.of(chosen) == pytest.approx(MaskAP(truth, detections, image_ids=ids).of())


def test_ap_is_0_without_detections_and_nan_without_lesions():
    truth, _ = random_case(0)
    assert MaskAP(truth, []).of() == {"AP": 0, "AP50": 0, "AP75": 0}
    healthy = make_truth({1: []}, {1: "a"})
    for found in ([], [detection(1, 0.9, 0, 0, 5)]):
        assert all(np.isnan(v) for v in MaskAP(healthy, found).of().values())


def test_precision_at_an_iou_is_that_of_pycocotools():
    truth, detections = random_case(2)
    evaluation = MaskAP(truth, detections)
    assert evaluation.precision_at(0.5).mean() == pytest.approx(evaluation.of()["AP50"])
    assert len(evaluation.recalls) == 101


def test_intervals_enclose_the_estimate_and_need_two_patients():
    truth, detections = random_case(3)
    found = ap_intervals(truth, detections, resamples=50)
    assert found["AP"].estimate == MaskAP(truth, detections).of()["AP"]
    assert found["AP"].low <= found["AP"].estimate <= found["AP"].high
    one = make_truth({1: [(0, 0, 9)], 2: []}, {1: "a", 2: "a"})
    alone = ap_intervals(one, [detection(1, 0.9, 0, 0, 9)], resamples=5)
    assert alone["AP"].estimate == pytest.approx(1)
    assert np.isnan(alone["AP"].low)


def test_difference_from_itself_is_0_and_from_a_run_without_detections_its_ap():
    truth, detections = random_case(4)
    same = ap_difference(truth, detections, detections, resamples=10)["AP"]
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
    worse = ap_difference(truth, detections, [], resamples=10)["AP"]
    assert worse.estimate == MaskAP(truth, detections).of()["AP"]


def test_an_image_without_a_patient_is_a_separate_patient():
    truth = make_truth({1: [], 2: []}, {1: "a", 2: "a"})
    del truth.imgs[2]["patient"]
    assert patients_of(truth).tolist() == ["a", "image 2"]


@pytest.fixture
def six_sizes():
    return make_truth({i: [(0, 0, s)] for i, s in enumerate(SIDES)}, dict(enumerate("aabbcc")))


def test_a_third_of_the_lesions_each(six_sizes):
    found = [detection(4, 0.9, 0, 0, 12), detection(5, 0.8, 0, 0, 15)]
    groups = ap_by_size(six_sizes, found)
    assert [(g.name, g.low, g.high, g.lesions) for g in groups] == [
        ("small", 25, 36, 2),
        ("medium", 64, 100, 2),
        ("large", 144, 225, 2),
    ]
    assert [g.ap for g in groups] == pytest.approx([0, 0, 1])


def test_false_detections_of_another_size_do_not_count(six_sizes):
    found = [detection(4, 0.5, 0, 0, 12), detection(5, 0.5, 0, 0, 15)]
    false = [detection(4, 0.9, 40, 40, 5)]
    assert ap_by_size(six_sizes, found + false)[2].ap == pytest.approx(1)


def test_equal_lesions_are_one_group_and_no_lesions_none():
    equal = make_truth({1: [(0, 0, 5), (20, 20, 5), (40, 40, 5)]}, {1: "a"})
    groups = ap_by_size(equal, [])
    assert [g.lesions for g in groups] == [3, 0, 0]
    assert groups[0].ap == 0
    assert np.isnan(groups[1].ap)
    assert ap_by_size(make_truth({1: []}, {1: "a"}), []) == []
