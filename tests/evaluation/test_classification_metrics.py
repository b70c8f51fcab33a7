"""Classification metrics, against hand-computed values and scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ct_lesion.evaluation.classification_metrics import (
    classification_metrics,
    confusion_matrix,
    one_vs_rest_auc,
)

NAMES = ("Control", "Common Pneumonia", "COVID-19")


def one_hot(predicted, scale: float = 1.0) -> np.ndarray:
    return scale * np.eye(3)[predicted]


def test_numbers_worked_out_by_hand():
    # class 0: 3 of 4 correct, one predicted as 1; class 1: 1 of 2, one as 2; class 2: 2 of 2
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    metrics = classification_metrics(labels, one_hot(predicted), NAMES)
    assert metrics.confusion.tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 2]]
    assert metrics.accuracy == 6 / 8
    assert metrics.sensitivity.tolist() == [3 / 4, 1 / 2, 1]
    assert metrics.specificity.tolist() == [1, 5 / 6, 5 / 6]
    assert metrics.ppv.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert metrics.f1.tolist() == pytest.approx([6 / 7, 1 / 2, 4 / 5])
    # with 0/1 scores the area is the mean of sensitivity and specificity
    assert metrics.auc.tolist() == pytest.approx([7 / 8, 2 / 3, 11 / 12])
    assert metrics.undefined == {}
    named = metrics.as_dict()
    assert len(named) == 1 + 5 * 3
    assert named["accuracy"] == 0.75
    assert named["sensitivity/COVID-19"] == 1
    assert named["specificity/Common Pneumonia"] == 5 / 6
    assert named["PPV/COVID-19"] == pytest.approx(2 / 3)
    assert named["AUC/Control"] == 7 / 8


def test_auc_counts_ordered_pairs():
    labels = np.array([1, 1, 0, 2])
    # scores of class 1: its own 0.9 and 0.2, others 0.5 and 0.2; of the 4 pairs 2 are in order
    # (0.9 above both), one is a tie (a half), one is wrong
    logits = np.array([[0, 0.9, 0], [0, 0.2, 0], [0, 0.5, 0], [0, 0.2, 0]])
    assert one_vs_rest_auc(labels, logits)[1] == 2.5 / 4


def test_auc_uses_the_logit_not_the_softmax():
    # adding a number to an image's logits changes the order of images, but not the softmax
    labels = np.array([1, 0])
    assert one_vs_rest_auc(labels, np.array([[0.0, 1.0], [0.0, 0.0]]))[1] == 1
    assert one_vs_rest_auc(labels, np.array([[0.0, 1.0], [5.0, 5.0]]))[1] == 0


def test_tie_goes_to_the_first_class():
    metrics = classification_metrics(np.array([0, 1]), np.zeros((2, 3)), NAMES)
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(20, 60))
def test_agrees_with_scikit_learn(seed, count):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1, 2], rng.integers(0, 3, count)])
    logits = rng.normal(size=(len(labels), 3)) + 0.8 * np.eye(3)[labels]
    logits[:3] = 5 * np.eye(3)  # each class occurs and is predicted
    predicted = logits.argmax(axis=1)
    metrics = classification_metrics(labels, logits, NAMES)
    precision, recall, f1, _ = sk.precision_recall_fscore_support(labels, predicted)
    np.testing.assert_allclose(metrics.sensitivity, recall)
    np.testing.assert_allclose(metrics.ppv, precision)
    np.testing.assert_allclose(metrics.f1, f1)
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(labels, predicted))
    for index in range(3):
        # specificity is the recall of "not this class"
        others = sk.recall_score(labels != index, predicted != index)
        assert metrics.specificity[index] == pytest.approx(others)
        area = sk.auc(*sk.roc_curve(labels == index, logits[:, index])[:2])
        assert metrics.auc[index] == pytest.approx(area)
    assert (metrics.confusion == sk.confusion_matrix(labels, predicted)).all()


def test_absent_class_is_nan_with_a_reason_and_no_warning():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = classification_metrics(labels, one_hot(predicted), NAMES)
    values = metrics.as_dict()
    undefined = {name for name, value in values.items() if np.isnan(value)}
    assert undefined == {"sensitivity/COVID-19", "F1/COVID-19", "AUC/COVID-19"}
    assert metrics.undefined == dict.fromkeys(undefined, "no image is COVID-19")
    assert values["PPV/COVID-19"] == 0  # one image is predicted as COVID-19, wrongly
    assert values["specificity/COVID-19"] == 3 / 4


def test_class_that_is_never_predicted_has_no_ppv():
    metrics = classification_metrics(np.array([0, 1, 2]), one_hot([0, 1, 1]), NAMES)
    assert metrics.undefined == {"PPV/COVID-19": "no image is predicted as COVID-19"}
    assert np.isnan(metrics.ppv[2])
    assert metrics.sensitivity[2] == metrics.f1[2] == 0


def test_single_class_has_no_specificity():
    metrics = classification_metrics(np.array([2, 2]), one_hot([2, 1]), NAMES)
    assert metrics.undefined["specificity/COVID-19"] == "every image is COVID-19"
    assert metrics.undefined["AUC/COVID-19"] == "every image is COVID-19"
    assert metrics.undefined["PPV/Control"] == "no image is predicted as Control"
    assert metrics.undefined["sensitivity/Control"] == "no image is Control"
    assert metrics.sensitivity[2] == metrics.accuracy == 0.5


def test_no_images_is_all_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = classification_metrics(np.array([]), np.empty((0, 3)), NAMES)
    assert all(np.isnan(v) for v in metrics.as_dict().values())
    assert set(metrics.undefined) == set(metrics.as_dict())
    assert confusion_matrix(np.array([]), np.array([]), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        ([0, 1], np.zeros((3, 3)), r"for 2 labels and 3 classes, got \(3, 3\)"),
        ([0, 1], np.zeros((2, 2)), r"for 2 labels and 3 classes, got \(2, 2\)"),
        ([0, 3], np.zeros((2, 3)), r"labels in 0\.\.2, got 0\.\.3"),
        ([-1, 0], np.zeros((2, 3)), r"labels in 0\.\.2, got -1\.\.0"),
        ([0, 1], np.array([[0, 0, np.nan], [0, 0, 0]]), "the logits of 1 images are not finite"),
    ],
)
def test_invalid_input_is_refused(labels, logits, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.array(labels), logits, NAMES)
