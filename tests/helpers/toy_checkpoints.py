"""Checkpoints of small untrained models, with their configs in them."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from toy_runs import TOY_SEGMENTATION, segmentation_cfg

from ct_lesion import load_config
from ct_lesion.checkpoint import describe, write_weights
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES

SCORE_THRESH = 0.2  # untrained scores are near 0.5
TOY_CLASSIFIER = {
    **{k: v for k, v in TOY_SEGMENTATION.items() if "SCORE_THRESH" not in k},
    "MODEL.ROI_BATCH.SIZE": 8,
    "MODEL.CLASSIFIER.WIDTH": 16,
}


def write_segmenter(folder: Path) -> Path:
    return _write(folder / "segmenter.safetensors", segmentation_cfg(folder), ["Lesion"])


def write_classifier(folder: Path) -> Path:
    """A classifier with a temperature of 2."""
    pairs = [item for pair in TOY_CLASSIFIER.items() for item in pair]
    cfg = load_config("classification/resnet18_t2.yaml", pairs)
    temperature = '{"value": 2.0, "fitted_on": "toy"}'
    names = {"images": list(IMAGE_CLASSES)}
    return _write(folder / "classifier.safetensors", cfg, names, temperature=temperature)


def _write(path: Path, cfg: CfgNode, class_names: object, **description: str) -> Path:
    torch.manual_seed(0)
    weights = build_model(cfg).state_dict()
    write_weights(path, weights, {**describe(cfg, class_names=class_names), **description})
    return path
