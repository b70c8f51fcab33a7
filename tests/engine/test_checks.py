import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from PIL import Image
from toy_runs import TOY_TRAINING

from ct_lesion import load_config
from ct_lesion.data.datasets.cncb import register_cncb_lesion
from ct_lesion.engine.checks import (
    check_classes,
    check_lesion_datasets,
    class_names,
    dataset_hashes,
    without_missing_val,
)
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError, DatasetError


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


# ---- lesion datasets ----------------------------------------------------------------------------
SQUARE = [[2, 2, 8, 2, 8, 8, 2, 8]]


@pytest.fixture
def dataset(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Registers a dataset of one picture, stored as 20 x 10 pixels, which EXIF may rotate."""
    names = []

    def make(
        *annotations: dict, size=(20, 10), exif=None, classes=("Lesion",), register=None
    ) -> str:
        name = f"from_a_tool_{len(names)}"
        names.append(name)
        orientation = Image.Exif()
        orientation[0x0112] = exif or 1
        pixels = np.zeros((10, 20), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", exif=orientation)
        (tmp_path / f"{name}.json").write_text(
            json.dumps(
                {
                    "images": [
                        {"id": 1, "file_name": f"{name}.jpg", "width": size[0], "height": size[1]}
                    ],
                    "categories": [{"id": i, "name": n} for i, n in enumerate(classes, start=1)],
                    "annotations": [
                        {"id": i, "image_id": 1, "category_id": 1, "bbox": [2, 2, 6, 6]} | keys
                        for i, keys in enumerate(annotations, start=1)
                    ],
                }
            )
        )
        paths = (str(tmp_path / f"{name}.json"), str(tmp_path))
        if register is register_coco_instances:
            register(name, {}, *paths)
        else:
            register_cncb_lesion(name, *paths)
        return name

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


LESION = {"segmentation": SQUARE}


def check(toy_cfg, train: str, test: str | None = None, **keys: object) -> list[str]:
    sets = {"DATASETS.TRAIN": (train,), "DATASETS.TEST": (test or train,)}
    return check_lesion_datasets(toy_cfg(**sets, **keys))


def test_a_sound_dataset_has_no_remarks(toy_cfg, dataset):
    assert check(toy_cfg, dataset(LESION)) == []
    assert check_lesion_datasets(toy_cfg()) == []


def test_a_size_before_exif_rotation_is_refused(toy_cfg, dataset):
    with pytest.raises(DatasetError) as error:
        check(toy_cfg, dataset(LESION, exif=6))
    message = str(error.value)
    assert "from_a_tool_0.jpg has 10 x 20 pixels, but dataset" in message
    assert "the size before its EXIF orientation is applied" in message
    (remark, again) = check(toy_cfg, dataset(LESION, exif=6, size=(10, 20)))
    assert remark == again
    assert "1 pictures have an EXIF orientation" in remark
    with pytest.raises(DatasetError, match=r"records 21 x 10 pixels\. Prepare the dataset"):
        check(toy_cfg, dataset(LESION, size=(21, 10)))


def test_a_dataset_without_lesions_to_train_on_is_refused(toy_cfg, dataset):
    crowds = dataset(LESION | {"iscrowd": 1})
    for train in (dataset(), crowds):
        with pytest.raises(DatasetError, match="no slice has a lesion to train on"):
            check(toy_cfg, train)
    keep = {"DATALOADER.FILTER_EMPTY_ANNOTATIONS": False}
    assert check(toy_cfg, dataset(), **keep) == []
    assert "1 of 1 lesions are crowds" in check(toy_cfg, crowds, **keep)[0]
    assert check(toy_cfg, dataset(LESION), dataset()) == []  # a test set may have none


def test_lesions_without_masks_are_refused(toy_cfg, dataset):
    for register in (register_coco_instances, None):
        name = dataset({}, register=register)
        with pytest.raises(DatasetError, match="annotation 1: it has no segmentation"):
            check(toy_cfg, name)
    with pytest.raises(ConfigError, match="MASK_ON is False"):
        check(toy_cfg, dataset(LESION), **{"MODEL.MASK_ON": False})


def test_classes_of_another_order_are_refused(toy_cfg, dataset):
    train = dataset(LESION, classes=("GGO", "Consolidation"))
    test = dataset(LESION, classes=("Consolidation", "GGO"))
    with pytest.raises(ConfigError, match=f"{test} are Consolidation, GGO, but those of {train}"):
        check(toy_cfg, train, test)


def test_boxes_that_differ_from_their_masks_cause_a_remark(toy_cfg, dataset):
    loose = dataset(LESION | {"bbox": [2, 2, 10, 6]})
    (remark, _) = check(toy_cfg, loose)
    assert "1 x box_not_of_mask, e.g. annotation 1 of" in remark


def test_training_without_validation_split_keeps_its_last_weights(datasets, tmp_path):
    given = load_config("segmentation/resnet18_t2.yaml")
    assert given.DATASETS.TEST == ("cncb_lesion_val",)
    cfg, [remark] = without_missing_val(given)
    assert cfg.DATASETS.TEST == ()
    assert "cncb_lesion_val does not exist" in remark and "last weights" in remark
    cfg.defrost()
    cfg.merge_from_list([item for pair in TOY_TRAINING.items() for item in pair])
    cfg.SOLVER.MAX_ITER, cfg.TEST.EVAL_PERIOD, cfg.OUTPUT_DIR = 1, 1, str(tmp_path)
    LesionTrainer(cfg).train()
    assert (tmp_path / "model_final.safetensors").is_file()
    assert not (tmp_path / "model_best.safetensors").exists()


def test_only_a_missing_validation_set_is_removed(datasets, tmp_path, monkeypatch):
    tested = load_config(
        "segmentation/resnet18_t2.yaml", ["DATASETS.TEST", "('cncb_lesion_test',)"]
    )
    assert without_missing_val(tested) == (tested, [])
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))  # nothing is prepared there
    given = load_config("segmentation/resnet18_t2.yaml")
    assert without_missing_val(given) == (given, [])
