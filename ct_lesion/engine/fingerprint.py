"""Hashes of the weights, config and slices that RoI batches depend on.

Stored RoI batches are used only if all three hashes are unchanged.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from torch import nn

from ct_lesion.data.loading.roi_batches import NO_LABEL, Fingerprint

from .across_processes import unwrap_model

# keys of MODEL that do not influence RoI batches
_UNRELATED_KEYS = ("WEIGHTS", "DEVICE", "CLASSIFIER", "ROI_MASK_HEAD", "ROI_KEYPOINT_HEAD")
_DETECTOR = ("backbone", "proposal_generator", "roi_heads")


def fingerprint(cfg: CfgNode, model: nn.Module, dataset_dicts: Sequence[dict]) -> Fingerprint:
    """Fingerprint of the RoI batches of a detector on a dataset."""
    return Fingerprint(hash_detector(model), hash_config(cfg), hash_dataset(dataset_dicts))


def hash_detector(model: nn.Module) -> str:
    """SHA-256 of the detector's parameters and BatchNorm statistics, without S."""
    weights = unwrap_model(model).state_dict()
    return hash_weights({n: t for n, t in weights.items() if n.startswith(_DETECTOR)})


def hash_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of named tensors, e.g. a state dict, independent of their order."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        array = value.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def hash_config(cfg: CfgNode) -> str:
    """SHA-256 of the config keys that influence RoI batches."""
    detector = cfg.MODEL.clone()
    for key in _UNRELATED_KEYS:
        detector.pop(key, None)
    if detector.get("FAST_PATH") != "half":
        detector.pop("FAST_PATH", None)  # "auto" and "off" give the same numbers
    seed = cfg.SEED if cfg.MODEL.ROI_BATCH.PADDING == "random" else None
    text = f"{detector.dump()}{cfg.INPUT.dump()}{seed}"
    return hashlib.sha256(text.encode()).hexdigest()


def hash_dataset(dataset_dicts: Sequence[dict]) -> str:
    """SHA-256 of the slices of a dataset: file names, labels, file sizes, modification times."""
    digest = hashlib.sha256()
    for item in dataset_dicts:
        path = Path(item["file_name"])
        stat = path.stat() if path.is_file() else None
        state = (stat.st_size, stat.st_mtime_ns) if stat else ()
        digest.update(repr((str(path), item.get("label", NO_LABEL), state)).encode())
    return digest.hexdigest()
