import pytest

from ct_lesion.engine.checks import check_classes, class_names, dataset_hashes
from ct_lesion.errors import ConfigError


def test_matching_classes_pass(toy_cfg):
    cfg = toy_cfg()
    check_classes(cfg)
    assert class_names(cfg, "cncb_lesion_train") == ["Lesion"]


def test_a_wrong_number_of_classes_names_key_dataset_and_classes(toy_cfg):
    cfg = toy_cfg(**{"DATASETS.TEST": ("cncb_ggo_consolidation_test",)})
    with pytest.raises(ConfigError) as error:
        check_classes(cfg)
    message = str(error.value)
    assert "MODEL.ROI_HEADS.NUM_CLASSES is 1" in message
    assert "cncb_ggo_consolidation_test has 2 classes: GGO, Consolidation" in message


def test_an_unregistered_dataset_lists_the_registered_ones(toy_cfg):
    with pytest.raises(ConfigError, match=r"'mine', which is not registered.*cncb_lesion_train"):
        check_classes(toy_cfg(**{"DATASETS.TRAIN": ("mine",)}))


def test_a_dataset_of_the_other_task_is_refused(toy_cfg):
    with pytest.raises(ConfigError, match="covidx_ct_train is not a lesion dataset"):
        check_classes(toy_cfg(**{"DATASETS.TRAIN": ("covidx_ct_train",)}))


def test_classes_of_a_users_dataset_come_from_its_json(toy_cfg, register_toy):
    register_toy("my_lesions", "cncb_ggo_consolidation", "train")
    names = class_names(toy_cfg(), "my_lesions")
    assert names == ["GGO", "Consolidation"]


def test_hashes_change_with_the_file(toy_cfg, register_toy):
    register_toy("one", split="train")
    register_toy("other", split="test")
    hashes = dataset_hashes(toy_cfg(**{"DATASETS.TRAIN": ("one",), "DATASETS.TEST": ("other",)}))
    assert len(hashes["one"]) == 64
    assert hashes["one"] != hashes["other"]
