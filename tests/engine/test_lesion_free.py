"""The shipped configs map slices without lesions, and train on batches without lesions."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from toy_runs import TOY_TRAINING

from ct_lesion import load_config
from ct_lesion.config import is_classifier, shipped_configs
from ct_lesion.engine.builders import build_mapper, build_optimizer
from ct_lesion.modeling.fast.training import use_fast_training

SEGMENTERS = [name for name in shipped_configs() if not is_classifier(load_config(name))]
TRAINED = (  # the others differ in depth and truncation only, and would take minutes
    "segmentation/resnet18_t2.yaml",
    "segmentation/resnet18_t1_recommended.yaml",
)
CLASSES = {1: "cncb_lesion_train", 2: "cncb_ggo_consolidation_train"}


def rotated(name: str) -> tuple[CfgNode, list[dict]]:
    """A config that keeps lesion-free slices, and inputs: with lesions, with crowds, with none."""
    keys = {
        **TOY_TRAINING,
        "INPUT.ROTATION": 10.0,
        "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    }
    cfg = load_config(name, [item for pair in keys.items() for item in pair])
    lesion, _, free = DatasetCatalog.get(CLASSES[cfg.MODEL.ROI_HEADS.NUM_CLASSES])[:3]
    assert lesion["annotations"] and not free["annotations"]
    crowd = lesion | {"annotations": [a | {"iscrowd": 1} for a in lesion["annotations"]]}
    mapper = build_mapper(cfg, is_train=True)
    return cfg, [mapper(record) for record in (lesion, crowd, free)]


@pytest.mark.parametrize("name", SEGMENTERS)
def test_lesion_free_slices_are_mapped(datasets: Path, name: str) -> None:
    _, (lesion, crowd, free) = rotated(name)
    assert len(lesion["instances"]) == 2 and lesion["instances"].has("gt_masks")
    for item in (crowd, free):
        assert len(item["instances"]) == 0
        assert item["instances"].image_size == tuple(item["image"].shape[1:])


@pytest.mark.parametrize("name", TRAINED)
def test_lesion_free_slices_train(datasets: Path, name: str) -> None:
    cfg, (lesion, crowd, free) = rotated(name)
    torch.manual_seed(1)
    model = build_model(cfg).train()
    use_fast_training(model, cfg)
    optimizer = build_optimizer(cfg, model)
    for batch in ([free, crowd], [free, lesion]):
        with EventStorage():
            losses = model(batch)
        assert {"loss_mask", "loss_cls", "loss_rpn_cls"} <= losses.keys()
        assert all(torch.isfinite(loss) for loss in losses.values()), losses
        if batch[1] is crowd:  # no slice has a lesion to learn from
            assert losses["loss_mask"] == losses["loss_box_reg"] == losses["loss_rpn_loc"] == 0
            assert losses["loss_rpn_cls"] > 0
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
