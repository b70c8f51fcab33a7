"""Configs that train on the toy data in less than a second per iteration."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from toy_runs import TOY_TRAINING

from ct_lesion import load_config

TOY_MODEL = {
    **TOY_TRAINING,
    "DATASETS.TEST": ("cncb_lesion_test",),
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 4,
    "SOLVER.CHECKPOINT_PERIOD": 2,
    "TEST.EVAL_PERIOD": 2,
}


@pytest.fixture
def toy_cfg(datasets: Path, tmp_path: Path) -> Callable[..., CfgNode]:
    """Makes segmentation configs for the toy data; keyword arguments are overrides."""

    def make(**overrides: object) -> CfgNode:
        values = {**TOY_MODEL, "OUTPUT_DIR": str(tmp_path / "run"), **overrides}
        pairs = [item for key, value in values.items() for item in (key, value)]
        return load_config("segmentation/resnet18_t2.yaml", pairs)

    return make


@pytest.fixture
def toy_classifier_cfg(
    datasets: Path, segmenter_file: Path, tmp_path: Path
) -> Iterator[Callable[..., CfgNode]]:
    """Makes configs of a classifier on the lesion slices with labels 0, 1, 2, 0, ..."""
    names = ("toy_classes_train", "toy_classes_test")
    for name in names:
        lesions = name.replace("toy_classes", "cncb_lesion")
        DatasetCatalog.register(name, partial(labelled, lesions))
        MetadataCatalog.get(name).set(
            image_classes=["Control", "CP", "COVID"], evaluator_type="classification"
        )

    def make(**overrides: object) -> CfgNode:
        values = {
            **{k: v for k, v in TOY_MODEL.items() if "BATCH_SIZE_PER_IMAGE" not in k},
            "MODEL.WEIGHTS": str(segmenter_file),
            "MODEL.CLASSIFIER.WIDTH": 16,
            "MODEL.ROI_BATCH.SIZE": 8,
            "DATASETS.TRAIN": names[:1],
            "DATASETS.TEST": names[1:],
            "OUTPUT_DIR": str(tmp_path / "run"),
            **overrides,
        }
        pairs = [item for key, value in values.items() for item in (key, value)]
        return load_config("classification/resnet18_t2.yaml", pairs)

    yield make
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def labelled(lesions: str) -> list[dict]:
    records = DatasetCatalog.get(lesions)
    keys = ("file_name", "image_id", "height", "width", "patient")
    return [
        {key: r[key] for key in keys} | {"label": i % 3, "scan": "1"} for i, r in enumerate(records)
    ]
