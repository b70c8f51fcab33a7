import torch
from detectron2.structures import BitMasks, Instances

from ct_lesion.modeling.shared_masks import SharedBitMasks


def test_crops_equal_those_of_copied_masks() -> None:
    masks = torch.zeros(3, 40, 50, dtype=torch.bool)
    masks[0, 5:20, 5:30] = masks[1, 10:12, 40:] = masks[2, 30:, :7] = True
    lesion = torch.tensor([2, 0, 0, 1, 2, 1])
    boxes = torch.tensor([[3.0, 4, 33, 25], [0, 0, 50, 40], [20, 5, 21, 5], [38, 8, 50, 15]])
    foreground = torch.tensor([0, 1, 2, 3])
    copied, shared = BitMasks(masks), SharedBitMasks(BitMasks(masks))
    regions = Instances((40, 50), gt_masks=shared[lesion])[foreground]
    assert len(regions) == 4
    expected = copied[lesion][foreground].crop_and_resize(boxes, 28)
    assert expected.any()
    assert torch.equal(regions.gt_masks.crop_and_resize(boxes, 28), expected)


def test_no_region() -> None:
    shared = SharedBitMasks(BitMasks(torch.ones(2, 8, 8, dtype=torch.bool)))[torch.arange(0)]
    assert shared.crop_and_resize(torch.zeros(0, 4), 28).shape == (0, 28, 28)
