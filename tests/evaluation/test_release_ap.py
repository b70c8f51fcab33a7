"""AP of the published implementation, against hand-computed values."""

import numpy as np
import pytest

from ct_lesion.evaluation.release_ap import ImageMatches, image_ap, mean_image_ap


def matches(ious: list[list[float]], scores: list[float]) -> ImageMatches:
    return ImageMatches(np.array(ious, dtype=float).reshape(len(scores), -1), np.array(scores))


def test_without_any_lesion_the_mean_is_undefined():
    empty, false = ImageMatches(np.zeros((0, 0)), np.zeros(0)), matches([[]], [0.9])
    for images in ([], [empty], [empty, false]):
        assert np.isnan(list(mean_image_ap(images).values())).all()
    found = matches([[0.9]], [0.9])
    assert mean_image_ap([found, empty, false])["AP50"] == pytest.approx(2 / 3)


def test_without_lesions_and_detections_ap_is_1_and_without_either_0():
    assert image_ap(ImageMatches(np.zeros((0, 0)), np.zeros(0)), 0.5) == 1
    assert image_ap(ImageMatches(np.zeros((2, 0)), np.array([0.9, 0.8])), 0.5) == 0
    assert image_ap(ImageMatches(np.zeros((0, 3)), np.zeros(0)), 0.5) == 0


def test_false_detection_before_the_true_one():
    # by score: false, true. Precision 0, 1/2; recall 0, 1. Area = 1 * 1/2.
    case = matches([[0.8], [0.1]], [0.85, 0.9])
    assert image_ap(case, 0.5) == pytest.approx(0.5)


def test_envelope_takes_the_best_precision_to_the_right():
    # by score: true, false, true, of 3 lesions. Precision 1, 1/2, 2/3; recall 1/3, 1/3, 2/3.
    # Area = 1/3 * 1 + 1/3 * 2/3 = 5/9.
    case = matches([[0.9, 0, 0], [0, 0.2, 0], [0, 0.7, 0]], [0.99, 0.95, 0.9])
    assert image_ap(case, 0.5) == pytest.approx(5 / 9)


def test_a_detection_that_matches_two_lesions_counts_once():
    # one true detection of two lesions: precision 1, recall 1/2
    assert image_ap(matches([[0.6, 0.6]], [0.9]), 0.5) == pytest.approx(0.5)


def test_each_lesion_takes_only_its_best_detection():
    # two detections of one lesion: the better overlap is true although it scores lower
    case = matches([[0.6], [0.8]], [0.95, 0.9])
    assert image_ap(case, 0.5) == pytest.approx(0.5)


def test_the_overlap_must_be_above_the_threshold():
    case = matches([[0.75]], [0.9])
    assert image_ap(case, 0.75) == 0
    assert image_ap(case, 0.7) == 1


def test_thresholds_and_images_are_averaged():
    # IoU 0.72 is above 0.5, 0.55, 0.6, 0.65, 0.7: AP 1 at five of ten thresholds; the second
    # image is empty and scores 1 everywhere
    found = matches([[0.72]], [0.9])
    nothing = ImageMatches(np.zeros((0, 0)), np.zeros(0))
    result = mean_image_ap([found, nothing])
    assert result == pytest.approx({"AP50": 1.0, "AP75": 0.5, "AP": 0.75})


def test_no_images_have_no_ap():
    assert all(np.isnan(value) for value in mean_image_ap([]).values())
