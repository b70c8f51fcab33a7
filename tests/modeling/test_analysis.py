from functools import cache

import pytest
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from ct_lesion import load_config
from ct_lesion.errors import ConfigError
from ct_lesion.modeling.analysis import NetworkSize, count_flops, measure_network
from ct_lesion.modeling.parameters import count_parameters

SIDE = 64
SMALL = ["MODEL.FPN.OUT_CHANNELS", 16, "MODEL.ROI_BOX_HEAD.FC_DIM", 8]
SMALL += ["MODEL.RPN.POST_NMS_TOPK_TEST", 20, "TEST.DETECTIONS_PER_IMAGE", 6]
SMALL += ["MODEL.ROI_BATCH.SIZE", 6, "INPUT.MIN_SIZE_TEST", SIDE, "MODEL.DEVICE", "cpu"]


def small(name: str, *overrides: object) -> CfgNode:
    return load_config(name, [*SMALL, *overrides])


@cache
def measured(name: str) -> NetworkSize:
    return measure_network(small(name))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("segmentation/resnet18_t1.yaml", ["backbone", "FPN", "RPN", "box head", "mask head"]),
        ("quick/classification.yaml", ["backbone", "FPN", "RPN", "box head", "S"]),
    ],
)
def test_shipped_models_are_counted_by_part(name: str, parts: list[str]) -> None:
    size = measured(name)
    assert [part.part for part in size.parts] == parts
    assert (size.side, size.proposals, size.regions) == (SIDE, 20, 6)
    assert size.total.parameters == count_parameters(build_model(small(name))).total
    assert all(part.flops > 0 and part.activations > 0 for part in size.parts)
    assert size.not_counted["torchvision::roi_align"] >= 1


def test_count_flops_equals_the_total_of_all_counts() -> None:
    name = "quick/classification.yaml"
    assert count_flops(small(name)) == measured(name).total.flops


def test_counts_by_hand_of_a_segmenter() -> None:
    sizes = {part.part: part for part in measured("segmentation/resnet18_t1.yaml").parts}
    cells = (SIDE // 16) ** 2  # of res4, which has 256 maps
    # 1 x 1 from 256 to 16 maps, then 3 x 3 from 16 to 16
    assert sizes["FPN"].flops == cells * (256 * 16 + 9 * 16 * 16)
    assert sizes["FPN"].activations == cells * 2 * 16
    # 3 x 3, then 30 anchors with a score and four deltas
    assert sizes["RPN"].flops == cells * (9 * 16 * 16 + 16 * 30 * 5)
    # 20 proposals: two layers of 8 from 16 maps of 7 x 7, two classes' scores, four deltas
    assert sizes["box head"].flops == 20 * (16 * 49 * 8 + 8 * 8 + 8 * 2 + 8 * 4)
    # 6 regions: 3 x 3 to 128 maps of 14 x 14, a 2 x 2 deconvolution to 28 x 28, one class
    mask = 14 * 14 * (9 * 16 * 128 + 4 * 128 * 128) + 28 * 28 * 128
    assert sizes["mask head"].flops == 6 * mask


def test_counts_by_hand_of_module_s() -> None:
    module_s = measured("quick/classification.yaml").parts[-1]
    assert module_s.flops == 6 * 5 * 512 + 512 * 512 + 512 * 3
    assert module_s.activations == 512 + 512 + 3
    assert module_s.parameters == module_s.flops + module_s.activations  # weights and biases


def test_a_model_without_fpn_and_regions_is_counted_too() -> None:
    cfg = small("segmentation/resnet18_t1.yaml", "MODEL.META_ARCHITECTURE", "ProposalNetwork")
    cfg.MODEL.BACKBONE.NAME = "build_resnet_backbone"
    cfg.MODEL.RPN.IN_FEATURES = ["res4"]
    size = measure_network(cfg, side=32)
    assert [part.part for part in size.parts] == ["backbone", "RPN"]
    assert (size.side, size.proposals, size.regions) == (32, 20, None)


@pytest.mark.parametrize(
    ("overrides", "side", "message"),
    [
        ((), 8, "--size, or INPUT.MIN_SIZE_TEST\\) is 8"),
        (("INPUT.MIN_SIZE_TEST", 0), None, "INPUT.MIN_SIZE_TEST\\) is 0"),
        (("MODEL.META_ARCHITECTURE", "Nothing"), None, "The Nothing .* of this config cannot run"),
        (("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [16]]), None, "ANCHOR_GENERATOR.SIZES has 2"),
    ],
)
def test_what_cannot_be_counted_is_refused(overrides: tuple, side: int | None, message: str):
    with pytest.raises(ConfigError, match=message):
        measure_network(small("segmentation/resnet18_t1.yaml", *overrides), side)
