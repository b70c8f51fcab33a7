from pathlib import Path

import config_reference
import pytest
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model

from ct_lesion import add_ct_lesion_config, get_config_file, load_config
from ct_lesion.checkpoint import (
    DEFAULT_MODEL,
    config_from_description,
    locate_shipped,
    read_description,
)
from ct_lesion.config import matching_config
from ct_lesion.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parent.parent
CONFIGS = REPOSITORY / "configs"
TASKS = ("segmentation", "classification")
LEAVES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob("*.yaml")
    if not path.name.startswith("Base-")
)
AT_THE_END = [leaf for leaf in LEAVES if "quick/" in leaf or leaf == "finetune.yaml"]
"""Recipes too short to choose by; they evaluate on the test set once."""


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_shipped_config_builds(leaf):
    build_model(load_config(leaf, ["MODEL.DEVICE", "cpu"]))


def test_a_config_is_recognised_by_its_model():
    changed = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "a.pth", "SOLVER.BASE_LR", "1.0"]
    for name in ("segmentation/resnet18_t1.yaml", "segmentation/resnet34_t1_ggo.yaml"):
        assert matching_config(load_config(name, changed)) == name
    shipped = config_from_description(read_description(locate_shipped(DEFAULT_MODEL)))
    assert matching_config(shipped) == "segmentation/public_ct_resnet18_t1.yaml"
    other = load_config("classification/resnet18_t1.yaml", ["MODEL.ROI_BATCH.SIZE", "64"])
    assert matching_config(other) == ""


def test_the_mask_types_have_their_datasets_and_classes():
    for model in ("resnet18_t1", "resnet34_t1", "resnet50"):
        both = load_config(f"segmentation/{model}_both.yaml")
        assert both.MODEL.ROI_HEADS.NUM_CLASSES == 2
        assert list(both.DATASETS.TRAIN) == ["cncb_ggo_consolidation_train"]
        ggo = load_config(f"segmentation/{model}_ggo.yaml")
        assert ggo.MODEL.ROI_HEADS.NUM_CLASSES == 1
        assert list(ggo.DATASETS.TRAIN) == ["cncb_ggo_train"]


def test_the_paper_trains_100_epochs_of_650_slices_with_adam():
    solver = load_config("segmentation/resnet18_t1.yaml").SOLVER
    assert (solver.OPTIMIZER, solver.BASE_LR, solver.WEIGHT_DECAY) == ("Adam", 1e-5, 1e-3)
    assert solver.MAX_ITER == 100 * 650
    assert solver.IMS_PER_BATCH == 1


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if leaf not in AT_THE_END])
def test_no_recipe_chooses_its_weights_on_a_test_set(leaf):
    cfg = load_config(leaf)
    assert [name.rpartition("_")[2] for name in cfg.DATASETS.TEST] == ["val"]


@pytest.mark.parametrize("leaf", AT_THE_END)
def test_short_recipes_evaluate_at_the_end_only(leaf):
    cfg = load_config(leaf)
    assert cfg.TEST.EVAL_PERIOD == 0
    assert cfg.DATASETS.TEST[-1].endswith("_test")


def test_each_segmentation_config_has_a_classification_config():
    names = [{path.name for path in (CONFIGS / task).iterdir()} for task in TASKS]
    # the shipped model's network has 128 maps and is a segmenter only
    assert names[0] - {"public_ct_resnet18_t1.yaml"} == names[1]


def test_a_shipped_config_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "segmentation/resnet18_t1.yaml"
    assert get_config_file(f"configs/{name}") == get_config_file(name)


@pytest.mark.parametrize(
    "name", ["segmentation/resnet18_t11.yaml", "/a/configs/segmentation/resnet18_t1"]
)
def test_an_unknown_config_suggests_similar_ones_and_their_folder(name):
    with pytest.raises(ConfigError, match=r"resnet18_t\S+ does not exist") as caught:
        get_config_file(name)
    message = str(caught.value)
    assert "Similar names: segmentation/resnet18_t1.yaml, " in message
    assert message.endswith(f"The shipped configs are in {CONFIGS}.")


def test_adding_keys_leaves_detectron2s_defaults_alone():
    add_ct_lesion_config(get_cfg())
    assert "ROI_BATCH" not in get_cfg().MODEL
    assert "OPTIMIZER" not in get_cfg().SOLVER


def test_the_retired_key_of_earlier_configs_is_ignored(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("MODEL:\n  CLASSIFIER:\n    ALLOW_SCRATCH: true\n    WIDTH: 16\n")
    for cfg in (load_config(str(path)), config_from_description({"config": path.read_text()})):
        assert cfg.MODEL.CLASSIFIER.WIDTH == 16
        assert "ALLOW_SCRATCH" not in cfg.MODEL.CLASSIFIER


def test_the_reference_of_keys_is_what_config_py_says():
    """Regenerate it with ``python tests/helpers/config_reference.py > docs/configs.md``."""
    text = (REPOSITORY / "docs/configs.md").read_text(encoding="utf-8")
    assert text == config_reference.markdown()
    ours = get_cfg()
    add_ct_lesion_config(ours)
    for key in keys_of(ours) - keys_of(get_cfg()):
        assert f"`{key}`" in text


def keys_of(cfg: CfgNode, prefix: str = "") -> set[str]:
    found = set()
    for key, value in cfg.items():
        name = f"{prefix}{key}"
        found |= keys_of(value, f"{name}.") if isinstance(value, CfgNode) else {name}
    return found
