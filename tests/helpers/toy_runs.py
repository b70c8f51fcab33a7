"""Toy run folders as training and evaluation write them."""

import json
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

from ct_lesion import load_config
from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.evaluation.classification import ClassificationEvaluator

N = 6  # RoIs per slice


def toy_slices(patients: int = 6, slices: int = 3, classes: int = 3) -> list[dict]:
    """Slices of patients of each class in turn."""
    return [
        {
            "file_name": f"images/{patient}_{index}.png",
            "image_id": f"{patient}_{index}",
            "patient": str(patient),
            "scan": "1",
            "label": patient % classes,
        }
        for patient in range(patients)
        for index in range(slices)
    ]


def toy_output(record: dict, generator: np.random.Generator, n: int = N) -> dict:
    """Output of a fair classifier: mostly right, with higher region scores for COVID-19."""
    logits = generator.normal(0, 1, 3)
    logits[record["label"]] += 1.5
    scores = np.sort(generator.uniform(0, 1, n) ** (4 - record["label"]))[::-1].copy()
    corners = generator.uniform(0, 30, (n, 2))
    instances = Instances((64, 64))
    instances.pred_boxes = Boxes(torch.tensor(np.hstack([corners, corners + 20])).float())
    instances.pred_classes = torch.zeros(n, dtype=torch.long)
    instances.is_copy = torch.zeros(n, dtype=torch.bool)
    rows = np.hstack([scores[:, None], generator.normal(0, 1, (n, 4))])
    return {
        "logits": torch.tensor(logits),
        "instances": instances,
        "roi_batch": torch.tensor(rows).float(),
    }


def make_classification_run(
    folder: Path,
    slices: list[dict] | None = None,
    datasets: tuple[str, ...] = ("covidx_ct_test",),
    n: int = N,
    seed: int = 0,
) -> Path:
    """Write a run folder with weights, and evaluations of random predictions."""
    folder.mkdir(parents=True)
    overrides = ["MODEL.DEVICE", "cpu", "MODEL.ROI_BATCH.SIZE", n, "MODEL.FPN.OUT_CHANNELS", 16]
    overrides += ["INPUT.MIN_SIZE_TEST", 64]
    cfg = load_config("classification/resnet18_t2.yaml", overrides)
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(seed)
    model = build_model(cfg)
    write_weights(folder / "model_final.safetensors", model.state_dict(), describe(cfg))
    for index, dataset in enumerate(datasets):
        output = folder / "inference" / dataset
        generator = np.random.default_rng(seed + index)
        evaluator = ClassificationEvaluator(dataset, output)
        records = toy_slices() if slices is None else slices
        records = [{**r, "image_id": f"{dataset}_{r['image_id']}"} for r in records]
        evaluator.process(records, [toy_output(r, generator, n) for r in records])
        evaluator.evaluate()
        record = {"dataset": dataset, "weights_sha256": hash_weights(model.state_dict())}
        (output / "evaluation.json").write_text(json.dumps(record))
    lines = [{"iteration": i, "total_loss": 1 / (i + 1)} for i in range(3)]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    return folder


TOY_TRAINING = {  # trains a segmenter in less than a second per step
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 16,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 50,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 16,
    "INPUT.MIN_SIZE_TRAIN": [64],
    "INPUT.MIN_SIZE_TEST": 64,
    "DATALOADER.NUM_WORKERS": 0,
    "SOLVER.BASE_LR": 1e-3,
    "SEED": 1,
}
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
    datasets = {"DATASETS.TEST": ("cncb_lesion_test",)}
    values = {**TOY_SEGMENTATION, **datasets, "OUTPUT_DIR": str(folder)}
    pairs = [item for key, value in values.items() for item in (key, value)]
    return load_config("segmentation/resnet18_t2.yaml", pairs)


def make_segmentation_run(folder: Path) -> Path:
    """Write a run folder of an untrained model, evaluated on the toy lesions.

    ``$DETECTRON2_DATASETS`` must hold the toy data.
    """
    folder.mkdir(parents=True)
    cfg = segmentation_cfg(folder)
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(0)
    trainer = LesionTrainer(cfg)
    LesionTrainer.test(cfg, trainer.model)
    trainer.checkpointer.save_weights("model_final")
    return folder
