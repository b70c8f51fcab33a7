"""Importance of rows: exact for a linear S, plausible for a trained S."""

import numpy as np
import pytest
import torch
from torch import nn

from ct_lesion.evaluation import region_importance
from ct_lesion.evaluation.region_importance import (
    deletion_curve,
    mean_rows,
    merge_copies,
    occlusion,
)
from ct_lesion.modeling import ClassificationModule

N = 6
LABELS = np.zeros(4, int)  # of the slices of `linear`


def linear_s(weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    """Logits = weight (C, N, 5) . batch + bias (C,)."""
    layer = nn.Linear(weight[0].size, len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.reshape(len(weight), -1)))
        layer.bias.copy_(torch.from_numpy(bias))
    return nn.Sequential(nn.Flatten(), layer)


@pytest.fixture
def linear() -> tuple[nn.Module, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(3, N, 5))
    return linear_s(weight, np.array([1.0, -2, 3])), weight, rng.normal(size=(4, N, 5))


@pytest.mark.parametrize("target", [0, 1, 2])
def test_importance_for_a_linear_s_is_the_rows_term_of_the_logit(linear, target):
    classifier, weight, batch = linear
    baseline = np.random.default_rng(1).normal(size=(N, 5))
    expected = (weight[target] * (batch - baseline)).sum(axis=2)
    importance = occlusion(classifier, batch, target, baseline)
    assert importance.shape == (4, N)
    np.testing.assert_allclose(importance, expected, atol=1e-5)


def test_parts_of_a_large_batch_are_put_together(linear, monkeypatch):
    classifier, _, batch = linear
    whole = occlusion(classifier, batch, 1, mean_rows(batch, LABELS))
    sizes = []
    classifier.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    monkeypatch.setattr(region_importance, "BATCH", 3)
    parts = occlusion(classifier, batch, 1, mean_rows(batch, LABELS))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    assert max(sizes) == 3


def test_memory_stays_bounded_whatever_the_number_of_slices():
    """1,000 slices of 128 rows make 128,000 RoI batches, of which at most BATCH are in memory."""
    classifier = ClassificationModule(num_rois=128, width=2)
    sizes = []
    classifier.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    importance = occlusion(classifier, np.zeros((1000, 128, 5)), 2, np.zeros((128, 5)))
    assert importance.shape == (1000, 128)
    assert max(sizes) <= region_importance.BATCH
    assert sum(sizes) == 1000 * 129


def test_the_deletion_curves_of_a_linear_s_by_hand():
    # logit of class 1 = the sum of the rows' scores
    weight = np.zeros((2, 4, 5))
    weight[1, :, 0] = 1.0
    classifier = linear_s(weight, np.zeros(2))
    batch, baseline = np.zeros((2, 4, 5)), np.zeros((4, 5))
    batch[:, :, 0] = [[4, 3, 2, -1], [8, 0, 2, 0]]
    importance = occlusion(classifier, batch, 1, baseline)
    curves = deletion_curve(classifier, batch, importance, 1, baseline, seed=3)
    assert curves.steps.tolist() == [0, 1, 2, 4]  # up to the number of rows
    # sums are 8 and 10; the first two rows are 4 + 3 and 8 + 2
    assert curves.most.tolist() == pytest.approx([9, 3, 0.5, 0])
    # without -1 and without a 0; then without -1, 2 and without both 0
    assert curves.least.tolist() == pytest.approx([9, 9.5, 8.5, 0])
    assert curves.random[[0, 3]].tolist() == pytest.approx([9, 0])
    again = deletion_curve(classifier, batch, importance, 1, baseline, seed=3)
    other = deletion_curve(classifier, batch, importance, 1, baseline, seed=4)
    assert curves.random.tolist() == again.random.tolist() != other.random.tolist()


def test_deleted_rows_become_the_baseline_of_their_rank(linear):
    classifier, _, batch = linear
    batch = batch[:, :4]  # STEPS has 4
    classifier = nn.Sequential(nn.ZeroPad2d((0, 0, 0, 2)), *classifier)
    baseline = mean_rows(batch, LABELS)
    curves = deletion_curve(classifier, batch, np.zeros((4, 4)), 2, baseline)
    with torch.no_grad():
        expected = classifier(torch.from_numpy(baseline).float()[None])[0, 2].item()
    for curve in (curves.most, curves.random, curves.least):
        assert curve[-1] == pytest.approx(expected, abs=1e-5)


def test_deleting_important_rows_lowers_the_logit_of_a_trained_s():
    """Class 1 has large scores in three ranks, which differ from slice to slice."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    batch = rng.normal(scale=0.3, size=(200, 16, 5)).astype(np.float32)
    for roi_batch, label in zip(batch, labels, strict=True):
        roi_batch[rng.choice(16, size=3, replace=False), 0] += 2.0 * label
    torch.manual_seed(0)
    classifier = ClassificationModule(num_rois=16, width=32, num_classes=2)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        logits = classifier(torch.from_numpy(batch))
        nn.functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
    with torch.no_grad():
        assert (classifier(torch.from_numpy(batch)).argmax(1).numpy() == labels).mean() > 0.95

    own = batch[labels == 1]
    baseline = mean_rows(batch, labels)
    importance = occlusion(classifier, own, 1, baseline)
    curves = deletion_curve(classifier, own, importance, 1, baseline)
    assert curves.most[0] == curves.random[0] == curves.least[0]
    few = slice(1, 4)  # 1, 2 and 4 of 16 rows
    assert (np.diff(curves.most[:4]) < 0).all()
    # far faster than at random, and deleting rows against the class raises the logit
    fall, chance = curves.most[0] - curves.most[few], curves.random[0] - curves.random[few]
    assert (fall > 2 * chance).all()
    assert (curves.least[few] > curves.least[0]).all()


def test_copies_are_added_to_the_region_that_they_repeat():
    importance = np.array([[1.0, 2, 4, 8], [1, 2, 4, 8]])
    is_copy = np.array([[0, 1, 0, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(
        merge_copies(importance, is_copy), [[3, np.nan, 12, np.nan], [np.nan] * 4]
    )


def test_all_classes_have_the_same_weight_in_the_mean_row():
    batch = np.stack([np.full((2, 5), v) for v in (0.0, 0.0, 0.0, 6.0)])
    assert (mean_rows(batch, np.array([0, 0, 0, 2])) == 3.0).all()
    with pytest.raises(ValueError, match="one or more slices"):
        mean_rows(np.zeros((0, 2, 5)), np.zeros(0, int))


def test_shapes_that_do_not_match_are_named(linear):
    classifier, _, batch = linear
    baseline = np.zeros((N, 5))
    assert occlusion(classifier, batch[:0], 0, baseline).shape == (0, N)
    with pytest.raises(ValueError, match=r"expected \(B, N, 5\)"):
        occlusion(classifier, batch[0], 0, baseline)
    with pytest.raises(ValueError, match=r"baseline of shape \(2, 5\) does not match"):
        occlusion(classifier, batch, 0, np.zeros((2, 5)))


def test_deletion_needs_a_finite_importance_and_slices(linear):
    classifier, _, batch = linear
    baseline = np.zeros((N, 5))
    with pytest.raises(ValueError, match="expected finite importance"):
        deletion_curve(classifier, batch, np.full((4, N), np.nan), 0, baseline)
    with pytest.raises(ValueError, match="one or more slices"):
        deletion_curve(classifier, batch[:0], np.zeros((0, N)), 0, baseline)
