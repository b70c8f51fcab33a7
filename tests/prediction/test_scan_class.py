import numpy as np
import pytest
from scipy.special import softmax

from ct_lesion.prediction.scan_class import classify_scan

# four slices of two classes; the second and the fourth show lesions
LOGITS = np.array([[3.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0]])
SCORES = [0.1, 0.8, 0.2, 0.9]


def test_slices_with_the_highest_scores_decide():
    found = classify_scan(LOGITS, SCORES, top_slices=2)
    assert found.slices == (3, 1)
    assert found.index == 1
    assert found.probabilities == pytest.approx(softmax([0.0, 1.5]))
    assert found.rule == ("largest mean logit of the 2 of 4 slices with the highest region scores")


@pytest.mark.parametrize("top_slices", [0, 4, 10])
def test_0_or_too_many_top_slices_take_all_slices(top_slices):
    found = classify_scan(LOGITS, SCORES, top_slices=top_slices)
    assert found.index == 0
    assert found.probabilities == pytest.approx(softmax([1.5, 0.75]))
    assert found.rule == "largest mean logit of all slices"


def test_temperature_changes_probabilities_but_not_the_class():
    found = classify_scan(LOGITS, SCORES, top_slices=2, temperature=3.0)
    assert found.probabilities == pytest.approx(softmax([0.0, 0.5]))
    assert found.index == 1


def test_of_equal_scores_the_lower_slices_count():
    assert classify_scan(LOGITS, [0.5] * 4, top_slices=2).slices == (0, 1)


@pytest.mark.parametrize(
    ("logits", "scores", "top"), [(LOGITS[:0], [], 1), (LOGITS, [0.1], 1), (LOGITS, SCORES, -1)]
)
def test_invalid_arguments_are_refused(logits, scores, top):
    with pytest.raises(ValueError, match="a score for each"):
        classify_scan(logits, scores, top_slices=top)
