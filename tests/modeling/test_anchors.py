import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.anchor_generator import build_anchor_generator

from ct_lesion import load_config


def build():
    cfg = load_config("segmentation/resnet18_t1.yaml")
    return build_anchor_generator(cfg, [ShapeSpec(channels=256, stride=16)])


def test_thirty_anchors_in_ratio_major_order():
    [anchors] = build().cell_anchors
    assert anchors.shape == (30, 4)
    # ratio 1 is the fourth of six ratios; half-widths of the sizes 2, 4, 8, 16, 32
    squares = anchors[3 * 5 : 4 * 5]
    expected = torch.tensor([[-h, -h, h, h] for h in (1.0, 2.0, 4.0, 8.0, 16.0)])
    torch.testing.assert_close(squares, expected)


def test_half_sides_are_rounded_to_whole_pixels():
    [anchors] = build().cell_anchors
    # size 32, ratio 0.1: width 32 / sqrt(0.1) = 101.19, height 32 * sqrt(0.1) = 10.12
    torch.testing.assert_close(anchors[4], torch.tensor([-51.0, -5.0, 51.0, 5.0]))
    # size 2, ratio 0.1: width 6.32, height 0.63, which has no height after rounding
    torch.testing.assert_close(anchors[0], torch.tensor([-3.0, 0.0, 3.0, 0.0]))
    # size 2, ratio 0.25: width 4, height 1, whose half, 0.5, rounds to even
    torch.testing.assert_close(anchors[5], torch.tensor([-2.0, 0.0, 2.0, 0.0]))


def test_the_grid_starts_at_the_corner():
    [boxes] = build()([torch.zeros(1, 256, 2, 3)])
    grid = boxes.tensor.view(2, 3, 30, 4)
    torch.testing.assert_close(grid[0, 0], build().cell_anchors._buffers["0"])
    torch.testing.assert_close(
        grid[1, 2] - grid[0, 0], torch.tensor([32.0, 16, 32, 16]).expand(30, 4)
    )
