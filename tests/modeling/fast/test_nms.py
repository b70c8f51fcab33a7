import pytest
import torch
from detectron2.layers import batched_nms

from ct_lesion.modeling.fast.nms import fast_batched_nms


def boxes(count: int, spread: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=generator) * spread
    return torch.cat([corners, corners + torch.rand(count, 2, generator=generator) * 20], dim=1)


@pytest.mark.parametrize("count", [1, 2, 17, 1000, 1001])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("threshold", [0.3, 0.75])
def test_the_same_boxes_in_the_same_order_as_detectron2(count, classes, threshold):
    found = boxes(count, spread=40.0)
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(count, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    expected = batched_nms(found, scores, labels, threshold)
    assert count < 100 or len(expected) < count, "some boxes are suppressed"
    assert torch.equal(fast_batched_nms(found, scores, labels, threshold), expected)


def test_equal_scores_and_boxes_without_area():
    found = boxes(200, spread=10.0)
    found[::3, 2] = found[::3, 0]  # no width
    found[::5] = found[0]
    scores = (torch.arange(200) % 4).float()
    labels = torch.zeros(200, dtype=torch.long)
    expected = batched_nms(found, scores, labels, 0.5)
    assert torch.equal(fast_batched_nms(found, scores, labels, 0.5), expected)


def test_no_boxes():
    kept = fast_batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long(), 0.5)
    assert kept.tolist() == []


def test_without_numba(monkeypatch):
    monkeypatch.setattr("ct_lesion.modeling.fast.nms.numba_is_installed", lambda: False)
    found = torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10]])
    kept = fast_batched_nms(found, torch.tensor([0.1, 0.9, 0.5]), torch.zeros(3).long(), 0.5)
    assert kept.tolist() == [1, 2]
