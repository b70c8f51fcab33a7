"""RoIAlign on Numba kernels against torchvision's.

Shapes: N images, C channels, H x W pixels of a map, R regions, P x P bins per region.
"""

import numpy as np
import pytest
import torch
from detectron2.layers import ROIAlign
from torch.autograd import gradcheck

from ct_lesion.modeling.fast.roi_align import FastROIAlign, replace_roi_align

N, C, H, W, STRIDE = 2, 6, 9, 12, 8
WAYS = [(2, False), (2, True), (0, False), (0, True)]


def regions(count: int = 40) -> torch.Tensor:
    """Regions of all sizes, some without height or area, at and beyond the border."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(-20, 120, (count, 2)).astype(np.float32)
    sides = rng.choice([0, 1, 5, 30, 90], (count, 2)).astype(np.float32)
    images = np.arange(count, dtype=np.float32)[:, None] % N
    return torch.from_numpy(np.concatenate([images, corners, corners + sides], axis=1))


def layers(bins: int, ratio: int, aligned: bool, channels_last: bool = False):
    plain = ROIAlign((bins, bins), 1 / STRIDE, ratio, aligned)
    return plain, FastROIAlign(plain, channels_last)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(("ratio", "aligned"), WAYS)
def test_values_and_gradients_are_torchvisions(ratio, aligned, channels_last) -> None:
    torch.manual_seed(0)
    rois = regions()
    features = torch.randn(N, C, H, W)
    results = []
    for layer in layers(7, ratio, aligned, channels_last):
        leaf = features.clone().requires_grad_()
        pooled = layer(leaf, rois)
        weights = torch.linspace(-1, 1, pooled.numel()).view_as(pooled)
        (pooled * weights).sum().backward()
        results.append((pooled.detach(), leaf.grad))
    (expected, expected_gradient), (actual, gradient) = results
    assert expected.abs().max() > 1
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-5)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert actual.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("ratio", "aligned"), WAYS)
def test_gradient_is_that_of_the_values(ratio, aligned) -> None:
    _, fast = layers(3, ratio, aligned)
    features = torch.randn(N, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = regions(12).double()
    rois[:, 1:] /= 2
    assert gradcheck(lambda x: fast(x, rois), (features,))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    _, fast = layers(7, 2, False)
    rois, threads, results = regions(), torch.get_num_threads(), []
    features = torch.randn(N, C, H, W)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        leaf = features.clone().requires_grad_()
        fast(leaf, rois).square().sum().backward()
        results.append(leaf.grad)
    torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_no_region_and_a_region_of_nan_and_infinity() -> None:
    _, fast = layers(7, 0, True)
    features = torch.randn(N, C, H, W, requires_grad=True)
    none = fast(features, torch.zeros(0, 5))
    assert none.shape == (0, C, 7, 7)
    none.sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))
    broken = torch.tensor([[0.0, 1.0, float("nan"), 5.0, float("inf")]])
    assert torch.equal(fast(features, broken), torch.zeros(1, C, 7, 7))


def test_bins_that_are_not_square_fall_back_to_detectron2() -> None:
    plain = ROIAlign((7, 3), 1 / STRIDE, 2, False)
    features = torch.randn(N, C, H, W)
    actual = FastROIAlign(plain)(features, regions())
    assert torch.equal(actual, plain(features, regions()))


def test_poolers_are_replaced_once_and_hold_no_state() -> None:
    from detectron2.modeling.poolers import ROIPooler

    pooler = ROIPooler(7, (1 / 8, 1 / 16), 2, "ROIAlign")
    model = torch.nn.ModuleDict(
        {"box_pooler": pooler, "mask_pooler": ROIPooler(7, (1,), 0, "ROIAlignV2")}
    )
    for _ in range(2):
        replace_roi_align(model)
    levels = [*model["box_pooler"].level_poolers, *model["mask_pooler"].level_poolers]
    assert [type(level) for level in levels] == [FastROIAlign] * 3
    assert [level.channels_last for level in levels] == [False, False, True]
    assert [(x.spatial_scale, x.sampling_ratio, x.aligned) for x in levels] == [
        (1 / 8, 2, False),
        (1 / 16, 2, False),
        (1, 0, True),
    ]
    assert not model.state_dict()
