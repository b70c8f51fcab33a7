"""Runs' folders as training and evaluation leave them, of toy data."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from toy_runs import N, toy_output, toy_slices

from ct_lesion import load_config
from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.evaluation.classification import ClassificationEvaluator


@pytest.fixture
def classification_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run's folder with weights and an evaluation of ``covidx_ct_test`` or what is named.

    The predictions are drawn, not computed with the weights.
    """

    def make(
        name: str = "classification",
        slices: list[dict] | None = None,
        datasets: tuple[str, ...] = ("covidx_ct_test",),
        n: int = N,
        seed: int = 0,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        overrides = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BATCH.SIZE", n, "MODEL.FPN.OUT_CHANNELS", 16]
        cfg = load_config("classification/resnet18_t2.yaml", overrides)
        (folder / "config.yaml").write_text(cfg.dump())
        torch.manual_seed(seed)
        model = build_model(cfg)
        write_weights(folder / "model_final.safetensors", model.state_dict(), describe(cfg))
        digest = hash_weights(model.state_dict())
        for index, dataset in enumerate(datasets):
            generator = np.random.default_rng(seed + index)
            evaluator = ClassificationEvaluator(dataset, False, folder / "inference" / dataset)
            records = toy_slices() if slices is None else slices
            evaluator.process(records, [toy_output(r, generator, n) for r in records])
            evaluator.evaluate()
            record = {"dataset": dataset, "weights_sha256": digest}
            (folder / "inference" / dataset / "evaluation.json").write_text(json.dumps(record))
        lines = [{"iteration": i, "total_loss": 1 / (i + 1)} for i in range(3)]
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
        return folder

    return make


TOY_SEGMENTATION = {
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
    "INPUT.MIN_SIZE_TEST": 64,
    "DATALOADER.NUM_WORKERS": 0,
    "SEED": 1,
}


def segmentation_cfg(folder: Path) -> CfgNode:
    values = {**TOY_SEGMENTATION, "OUTPUT_DIR": str(folder)}
    pairs = [item for key, value in values.items() for item in (key, value)]
    return load_config("segmentation/resnet18_t2.yaml", pairs)


@pytest.fixture
def segmentation_run(datasets: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a run's folder of an untrained model evaluated on the toy lesions, with its weights."""

    def make(name: str = "segmentation") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        cfg = segmentation_cfg(folder)
        (folder / "config.yaml").write_text(cfg.dump())
        torch.manual_seed(0)
        trainer = LesionTrainer(cfg)
        LesionTrainer.test(cfg, trainer.model)
        trainer.checkpointer.save_weights("model_final")
        return folder

    return make
