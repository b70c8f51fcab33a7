"""A segmentation config that trains on the toy data within a second an iteration."""

from collections.abc import Callable
from pathlib import Path

import pytest
from detectron2.config import CfgNode

from ct_lesion import load_config

TOY_MODEL = {
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "INPUT.MIN_SIZE_TRAIN": [64],
    "INPUT.MIN_SIZE_TEST": 64,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.BASE_LR": 1e-3,
    "SOLVER.MAX_ITER": 4,
    "SOLVER.CHECKPOINT_PERIOD": 2,
    "TEST.EVAL_PERIOD": 2,
    "SEED": 1,
}


@pytest.fixture
def toy_cfg(datasets: Path, tmp_path: Path) -> Callable[..., CfgNode]:
    """Makes configs for the toy data; arguments are further overrides."""

    def make(**overrides: object) -> CfgNode:
        values = {**TOY_MODEL, "OUTPUT_DIR": str(tmp_path / "run"), **overrides}
        pairs = [item for key, value in values.items() for item in (key, value)]
        return load_config("segmentation/resnet18_t2.yaml", pairs)

    return make
