"""Importance of rows: exact on a linear S, plausible on one that learnt."""

import numpy as np
import pytest
import torch
from torch import nn

from ct_lesion.evaluation import region_importance
from ct_lesion.evaluation.region_importance import (
    deletion_curve,
    gradient_times_input,
    mean_rows,
    merge_copies,
    occlusion,
)
from ct_lesion.modeling import ClassificationModule

N = 6
MEASURES = (gradient_times_input, occlusion)


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


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("with_baseline", [False, True])
@pytest.mark.parametrize("target", [1, [2, 0, 0, 1]])
def test_the_importance_of_a_row_of_a_linear_s_is_its_share_of_the_logit(
    linear, measure, with_baseline, target
):
    classifier, weight, batch = linear
    baseline = np.random.default_rng(1).normal(size=(N, 5)) if with_baseline else None
    shares = weight[np.broadcast_to(target, 4)] * (batch - (0 if baseline is None else baseline))
    found = measure(classifier, batch, np.array(target), baseline)
    assert found.shape == (4, N)
    np.testing.assert_allclose(found, shares.sum(axis=2), atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_parts_of_a_large_batch_are_put_together(linear, measure, monkeypatch):
    classifier, _, batch = linear
    whole = measure(classifier, batch, np.array([0, 1, 2, 0]))
    seen = []
    classifier.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    monkeypatch.setattr(region_importance, "BATCH", 3)
    np.testing.assert_allclose(measure(classifier, batch, np.array([0, 1, 2, 0])), whole, atol=1e-5)
    assert max(seen) == 3


def test_memory_stays_bounded_whatever_the_number_of_slices():
    """1,000 slices of 128 rows are 128,000 RoI batches; never more than BATCH of them at once."""
    classifier = ClassificationModule(num_rois=128, width=2)
    seen = []
    classifier.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    found = occlusion(classifier, np.zeros((1000, 128, 5), np.float32), 2)
    assert found.shape == (1000, 128)
    assert max(seen) <= region_importance.BATCH
    assert sum(seen) == 1000 * 129


def test_explaining_leaves_the_classifier_as_it_was():
    classifier = ClassificationModule(num_rois=N, width=4).eval()
    with torch.no_grad():  # as in an evaluation
        gradient_times_input(classifier, np.ones((2, N, 5)), 0)
    assert all(p.grad is None and p.requires_grad for p in classifier.parameters())


def test_the_deletion_curve_of_a_linear_s_by_hand():
    # logit of class 1 = the sum of the rows' scores
    weight = np.zeros((2, 4, 5))
    weight[1, :, 0] = 1.0
    classifier = linear_s(weight, np.zeros(2))
    batch = np.zeros((2, 4, 5))
    batch[:, :, 0] = [[4, 3, 2, -1], [8, 0, 2, 0]]
    importance = gradient_times_input(classifier, batch, 1)
    curves = deletion_curve(classifier, batch, importance, 1, steps=(0, 1, 3, 4, 9), seed=3)
    assert curves.steps.tolist() == [0, 1, 3, 4]
    # sums are 8 and 10; the first three are 4 + 3 + 2 and 8 + 2 + 0
    assert curves.most.tolist() == pytest.approx([9, 3, -0.5, 0])
    # without -1 and without a 0; then without -1, 2, 3 and 0, 0, 2
    assert curves.least.tolist() == pytest.approx([9, 9.5, 6, 0])
    assert curves.random[[0, 3]].tolist() == pytest.approx([9, 0])
    again = deletion_curve(classifier, batch, importance, 1, steps=(0, 1, 3, 4, 9), seed=3)
    other = deletion_curve(classifier, batch, importance, 1, steps=(0, 1, 3, 4, 9), seed=4)
    assert curves.random.tolist() == again.random.tolist() != other.random.tolist()


def test_deleted_rows_become_the_baseline_of_their_rank(linear):
    classifier, _, batch = linear
    baseline = mean_rows(batch)
    everything = deletion_curve(
        classifier, batch, np.zeros((4, N)), 2, baseline, steps=(N,), draws=1
    )
    with torch.no_grad():
        expected = classifier(torch.from_numpy(baseline).float()[None])[0, 2].item()
    for curve in (everything.most, everything.random, everything.least):
        assert curve.tolist() == pytest.approx([expected], abs=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_deleting_what_matters_to_an_s_that_learnt_fells_its_logit(measure):
    """Class 1 has large scores in some ranks; which differs from slice to slice."""
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
    importance = measure(classifier, own, 1, baseline)
    curves = deletion_curve(classifier, own, importance, 1, baseline, steps=(0, 1, 2, 4))
    assert curves.most[0] == curves.random[0] == curves.least[0]
    assert (np.diff(curves.most) < 0).all()
    # far more than chance, and the rows that speak against the class make it rise
    fall, chance = curves.most[0] - curves.most[1:], curves.random[0] - curves.random[1:]
    assert (fall > 2 * chance).all()
    assert (curves.least[1:] > curves.least[0]).all()


def test_copies_count_for_the_region_they_repeat():
    importance = np.array([[1.0, 2, 4, 8], [1, 2, 4, 8]])
    is_copy = np.array([[0, 1, 0, 1], [1, 1, 1, 1]])
    np.testing.assert_array_equal(
        merge_copies(importance, is_copy), [[3, np.nan, 12, np.nan], [np.nan] * 4]
    )


def test_the_mean_row_weighs_all_classes_the_same():
    batch = np.stack([np.full((2, 5), v) for v in (0.0, 0.0, 0.0, 6.0)])
    assert (mean_rows(batch) == 1.5).all()
    assert (mean_rows(batch, np.array([0, 0, 0, 2])) == 3.0).all()
    with pytest.raises(ValueError, match="no slices"):
        mean_rows(np.zeros((0, 2, 5)))


@pytest.mark.parametrize("measure", MEASURES)
def test_shapes_that_do_not_fit_are_named(linear, measure):
    classifier, _, batch = linear
    assert measure(classifier, batch[:0], 0).shape == (0, N)
    with pytest.raises(ValueError, match=r"expected \(B, N, 5\)"):
        measure(classifier, batch[0], 0)
    with pytest.raises(ValueError, match=r"\(3,\) targets do not fit 4 slices"):
        measure(classifier, batch, np.zeros(3))
    with pytest.raises(ValueError, match="a baseline"):
        measure(classifier, batch, 0, np.zeros((2, 5)))


def test_curves_need_a_finite_importance_and_slices(linear):
    classifier, _, batch = linear
    with pytest.raises(ValueError, match="must be finite"):
        deletion_curve(classifier, batch, np.full((4, N), np.nan), 0)
    with pytest.raises(ValueError, match="no slices"):
        deletion_curve(classifier, batch[:0], np.zeros((0, N)), 0)
