import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from ct_lesion import load_config
from ct_lesion.data.loading.augmentation import build_augmentations, build_lesion_mapper


@pytest.fixture
def cfg(datasets):
    sizes = ["INPUT.MIN_SIZE_TRAIN", "[64]", "INPUT.MIN_SIZE_TEST", "64"]
    return load_config("segmentation/resnet18_t2.yaml", sizes)


def names(cfg, is_train: bool) -> list[str]:
    return [type(a).__name__ for a in build_augmentations(cfg, is_train)]


def test_the_paper_only_resizes(cfg):
    assert names(cfg, is_train=True) == names(cfg, is_train=False) == ["ResizeShortestEdge"]


def test_keys_add_their_augmentation_to_training_only(cfg):
    cfg.INPUT.RANDOM_FLIP = "horizontal"
    cfg.INPUT.VERTICAL_FLIP = True
    cfg.INPUT.ROTATION = 10.0
    cfg.INPUT.INTENSITY = 0.2
    assert names(cfg, is_train=True)[1:] == [
        "RandomFlip",
        "RandomFlip",
        "RandomRotation",
        "RandomBrightness",
        "RandomContrast",
    ]
    assert names(cfg, is_train=False) == ["ResizeShortestEdge"]


def test_rotated_boxes_stay_tight_around_their_masks(cfg):
    cfg.INPUT.ROTATION = 30.0
    mapped = build_lesion_mapper(cfg, is_train=True)(DatasetCatalog.get("cncb_lesion_train")[0])
    instances = mapped["instances"]
    for box, mask in zip(instances.gt_boxes.tensor, instances.gt_masks.tensor, strict=True):
        rows, columns = np.nonzero(mask.numpy())
        tight = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        torch.testing.assert_close(box, torch.tensor(tight, dtype=torch.float32))
