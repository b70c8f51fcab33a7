"""The examples of docs/extend.md run."""

import re
from pathlib import Path

import torch
from detectron2.data import DatasetCatalog

from ct_lesion.engine import LesionTrainer

PAGE = Path(__file__).resolve().parents[2] / "docs/extend.md"


def test_the_examples_of_the_page(toy_cfg) -> None:
    classes, use = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    logged = []
    cfg = toy_cfg(**{"SOLVER.MAX_ITER": 1, "DATASETS.TEST": (), "SOLVER.CHECKPOINT_PERIOD": 9})
    names = {"cfg": cfg}
    exec(classes, names)
    names["TrackedTrainer"].log = staticmethod(lambda metrics, step: logged.append(metrics))
    exec(use, names)
    assert "total_loss" in logged[-1]
    record = DatasetCatalog.get("cncb_lesion_train")[0]
    plain, inverted = (
        trainer.build_mapper(cfg, is_train=False)(record)["image"]
        for trainer in (LesionTrainer, names["InvertedTrainer"])
    )
    assert torch.equal(inverted, 255 - plain)
