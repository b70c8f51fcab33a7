"""Configs and weights of Detectron2's model zoo train on our datasets."""

import pickle
from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from toy_runs import TOY_TRAINING

from ct_lesion import add_ct_lesion_config
from ct_lesion.engine.trainer import LesionTrainer

NO_ZOO = "detectron2.model_zoo needs pkg_resources, which setuptools >= 82 lacks"


@pytest.fixture
def zoo_cfg(datasets: Path, tmp_path: Path) -> CfgNode:
    """The zoo's Mask R-CNN on ResNet50 for the toy lesions."""
    pytest.importorskip("pkg_resources", reason=NO_ZOO)
    from detectron2 import model_zoo

    cfg = model_zoo.get_config("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml")
    add_ct_lesion_config(cfg)
    toy = {**TOY_TRAINING, "MODEL.WEIGHTS": "", "SOLVER.MAX_ITER": 1, "SOLVER.IMS_PER_BATCH": 1}
    toy |= {"DATASETS.TRAIN": ("cncb_lesion_train",), "DATASETS.TEST": ()}
    toy |= {"INPUT.MASK_FORMAT": "bitmask", "MODEL.ROI_HEADS.NUM_CLASSES": 1}
    toy["OUTPUT_DIR"] = str(tmp_path / "run")
    cfg.merge_from_list([item for pair in toy.items() for item in pair])
    return cfg


def test_a_zoo_config_with_zoo_weights_trains_on_our_lesions(
    zoo_cfg: CfgNode, tmp_path: Path
) -> None:
    torch.manual_seed(2)
    weights = {n: t.numpy() for n, t in build_model(zoo_cfg).state_dict().items()}
    content = {"model": weights, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "model_final.pkl").write_bytes(pickle.dumps(content))
    zoo_cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pkl")
    trainer = LesionTrainer(zoo_cfg)
    trainer.resume_or_load(resume=False)
    before = trainer.model.state_dict()["backbone.fpn_output2.weight"].clone()
    assert torch.equal(before, torch.from_numpy(weights["backbone.fpn_output2.weight"]))
    trainer.train()
    assert not torch.equal(before, trainer.model.state_dict()["backbone.fpn_output2.weight"])
    assert (tmp_path / "run/model_final.safetensors").is_file()
