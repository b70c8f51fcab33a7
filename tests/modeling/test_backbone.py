import pytest
import torch
from detectron2.modeling import build_backbone

from ct_lesion import load_config
from ct_lesion.errors import ConfigError


@pytest.mark.parametrize(
    ("leaf", "level", "stride"),
    [("resnet18", "p5", 32), ("resnet34_t1", "p4", 16), ("resnet18_t2", "p3", 8)],
)
def test_one_level_after_the_last_kept_block(leaf, level, stride):
    backbone = build_backbone(load_config(f"segmentation/{leaf}.yaml"))
    features = backbone(torch.zeros(1, 3, 64, 96))
    assert {k: tuple(v.shape) for k, v in features.items()} == {
        level: (1, 256, 64 // stride, 96 // stride)
    }
    deeper = f"res{int(level[1]) + 1}"
    assert not hasattr(backbone.bottom_up, deeper), "the deleted blocks do not exist"


def test_resnet50_has_four_levels_and_no_pooled_one():
    backbone = build_backbone(load_config("segmentation/resnet50.yaml"))
    assert list(backbone.output_shape()) == ["p2", "p3", "p4", "p5"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["MODEL.FPN.IN_FEATURES", "['res5']"], "MODEL.FPN.IN_FEATURES is ['res5'], expected"),
        (["MODEL.RPN.IN_FEATURES", "['p5']"], "MODEL.RPN.IN_FEATURES is ['p5'], expected ['p4']"),
        (["MODEL.ROI_HEADS.IN_FEATURES", "['p2']"], "MODEL.ROI_HEADS.IN_FEATURES is ['p2']"),
        (["MODEL.RESNETS.RES2_OUT_CHANNELS", "256"], "RES2_OUT_CHANNELS is 256, expected 64"),
        (["MODEL.RESNETS.DEPTH", "50"], "RES2_OUT_CHANNELS is 64, expected 256"),
        (["MODEL.RESNETS.OUT_FEATURES", "['stem']"], "must name one or more of res2, res3"),
        (["MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16]]"], "SIZES has 2 lists, expected 1"),
    ],
)
def test_keys_that_disagree_are_named_with_both_values(overrides, message):
    cfg = load_config("segmentation/resnet18_t1.yaml", overrides)
    with pytest.raises(ConfigError) as error:
        build_backbone(cfg)
    assert message in str(error.value)
    assert "MODEL.RESNETS.OUT_FEATURES" in str(error.value)


def test_all_disagreements_come_in_one_error():
    overrides = ["MODEL.RESNETS.OUT_FEATURES", "['res3']"]
    with pytest.raises(ConfigError) as error:
        build_backbone(load_config("segmentation/resnet18_t1.yaml", overrides))
    for key in ("FPN.IN_FEATURES", "RPN.IN_FEATURES", "ROI_HEADS.IN_FEATURES"):
        assert key in str(error.value)
