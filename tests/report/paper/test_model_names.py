import pytest

from ct_lesion import load_config
from ct_lesion.config import shipped_configs
from ct_lesion.report.paper.model_names import backbone_name, model_name, paper_row
from ct_lesion.report.paper.paper import load_paper


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ("segmentation/resnet18.yaml", "ResNet18+FPN"),
        ("segmentation/resnet34_t1.yaml", "ResNet34_T1+FPN"),
        ("classification/resnet18_t2.yaml", "ResNet18_T2+FPN"),
        ("segmentation/resnet50.yaml", "ResNet50+FPN (merged masks)"),
        ("classification/resnet50_both.yaml", "ResNet50+FPN (separate masks)"),
        ("segmentation/resnet18_t1_ggo.yaml", "ResNet18_T1+FPN (GGO masks)"),
        ("classification/resnet18_t1_ggo.yaml", "ResNet18_T1+FPN (GGO masks)"),
        ("segmentation/resnet34_t1_recommended.yaml", "ResNet34_T1+FPN, 12 anchors per location"),
    ],
)
def test_shipped_configs(config, name):
    assert model_name(load_config(config)) == name


def test_every_model_of_the_papers_tables_has_a_config_of_its_name():
    names = {model_name(load_config(config)) for config in shipped_configs()}
    paper = load_paper()
    assert {row.model for row in (*paper.segmentation, *paper.classification)} <= names
    assert {row.model for row in paper.sizes if row.task != "third party"} <= names


def test_differences_from_the_paper_are_in_the_name():
    overrides = ["MODEL.FPN.OUT_CHANNELS", "64", "MODEL.ROI_BATCH.SIZE", "32"]
    cfg = load_config("classification/resnet18_t1.yaml", overrides)
    assert model_name(cfg) == "ResNet18_T1+FPN, 64 FPN maps, 32 RoIs"
    assert paper_row(cfg) == "ResNet18_T1+FPN"


def test_known_lesion_classes_determine_the_masks():
    cfg = load_config("classification/resnet18_t1.yaml")
    assert model_name(cfg, ["GGO"]) == "ResNet18_T1+FPN (GGO masks)"
    assert model_name(cfg, ["Lesion"]) == model_name(cfg, ["infection"]) == "ResNet18_T1+FPN"
    assert model_name(cfg, ["a", "b"]) == "ResNet18_T1+FPN (masks of a, b)"


def test_other_backbones_are_described():
    overrides = ["MODEL.RESNETS.DEPTH", "101", "MODEL.RESNETS.OUT_FEATURES", "['res4']"]
    other = load_config("segmentation/resnet50.yaml", overrides)
    assert model_name(other) == "ResNet101+FPN on res4"
    overrides = ["MODEL.BACKBONE.NAME", "build_resnet_backbone"]
    other = load_config("segmentation/resnet50.yaml", overrides)
    assert backbone_name(other) == "build_resnet_backbone"
