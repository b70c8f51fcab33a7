"""RoI batches of a frozen detector: computed once, stored in a file, used in training.

With ``MODEL.CLASSIFIER.TRAIN_BATCHNORM`` "none" the RoI batch of a slice never changes, so S can be
trained on the outputs of a single pass of the detector over the dataset.

Shapes: M slices, N RoIs per slice.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds
from torch import nn
from torch.utils.data import Dataset

from ct_lesion.config import is_classifier
from ct_lesion.data.loading.roi_batches import (
    Fingerprint,
    RoIBatches,
    StaleCacheError,
    roi_batch_row,
)
from ct_lesion.data.loading.seeding import untouched_random_state
from ct_lesion.data.loading.training_stream import StreamPosition, TrainingStream, make_stream
from ct_lesion.data.loading.unreadable import (
    TRAINING_ADVICE,
    NamingMapper,
    StopAtUnreadable,
    Unreadable,
)
from ct_lesion.errors import DatasetError
from ct_lesion.modeling.fast.inference import fast_inference

from .across_processes import unwrap_model
from .fingerprint import fingerprint

logger = logging.getLogger(__name__)


def can_cache(cfg: CfgNode) -> bool:
    """Whether the RoI batch of each slice is constant during training.

    True if the whole detector is frozen and the input is not augmented. If only augmentation
    prevents it, its keys are logged.
    """
    if not is_classifier(cfg):
        return False
    if cfg.MODEL.CLASSIFIER.TRAIN_BATCHNORM != "none":
        return False
    varying = {
        "INPUT.RANDOM_FLIP": cfg.INPUT.RANDOM_FLIP != "none",
        "INPUT.CROP.ENABLED": cfg.INPUT.CROP.ENABLED,
        "INPUT.MIN_SIZE_TRAIN": len(set(cfg.INPUT.MIN_SIZE_TRAIN)) > 1,
        "INPUT.VERTICAL_FLIP": cfg.INPUT.VERTICAL_FLIP,
        "INPUT.ROTATION": cfg.INPUT.ROTATION > 0,
        "INPUT.INTENSITY": cfg.INPUT.INTENSITY > 0,
    }
    reasons = [key for key, varies in varying.items() if varies]
    if reasons:
        logger.info("RoI batches are not cached, because %s changes slices.", ", ".join(reasons))
    return not reasons


def extract_roi_batches(cfg: CfgNode, model: nn.Module, data_loader: Iterable) -> RoIBatches:
    """Run the detector once over a dataset.

    The states of the random number generators are preserved, so that the training that follows
    draws the same numbers as without this pass. Each process computes its share and receives the
    results of all.

    Args:
        cfg: the model's config; it is stored, and its ``MODEL.FAST_PATH`` is used.
        model: a ``COVIDCTMaskNet``, possibly wrapped for distributed training.
        data_loader: yields lists of inputs, each slice once, in the order of the dataset, as
            Detectron2's ``build_detection_test_loader`` does. :class:`Unreadable` items are
            skipped.

    Returns:
        The RoI batches, with an empty fingerprint.

    Raises:
        DatasetError: no slice can be read.
    """
    model = unwrap_model(model)
    rows: list[dict] = []
    was_training = model.training
    detector = fast_inference(model.eval(), cfg)
    with torch.no_grad(), untouched_random_state():
        for batch in data_loader:
            inputs = _readable(batch)
            outputs = detector(inputs) if inputs else []
            rows += [roi_batch_row(i, o) for i, o in zip(inputs, outputs, strict=True)]
            log_every_n_seconds(logging.INFO, f"RoI batches of {len(rows)} slices so far", n=10)
    model.train(was_training)
    rows = [row for part in comm.all_gather(rows) for row in part]
    if not rows:
        raise DatasetError(
            "There are no readable slices to compute RoI batches from. Check the files in the log."
        )
    return RoIBatches.from_rows(rows, cfg.dump())


def _readable(batch: list) -> list[dict]:
    for item in batch:
        if isinstance(item, Unreadable):
            logger.warning("Skipped: %s", item.message)
    return [item for item in batch if not isinstance(item, Unreadable)]


def load_or_extract(
    cfg: CfgNode,
    model: nn.Module,
    dataset_dicts: Sequence[dict],
    mapper: Callable[[dict], dict],
) -> RoIBatches:
    """Read ``OUTPUT_DIR/roi_batches.npz``, or compute the RoI batches and write the file.

    The file is replaced if the fingerprint of model, config or dataset has changed.

    Args:
        cfg: the model's config.
        model: a ``COVIDCTMaskNet`` with its weights loaded.
        dataset_dicts: records of the dataset, e.g. from ``get_detection_dataset_dicts``.
        mapper: turns a record into an input; the same as in training without the cache.

    Raises:
        DatasetError: a slice cannot be read and ``INPUT.ON_CORRUPT`` is "stop". With "skip" the
            slice is left out; see :func:`slices_left_out`.
    """
    path = Path(cfg.OUTPUT_DIR) / "roi_batches.npz"
    expected = fingerprint(cfg, model, dataset_dicts)
    cache = _load_if_fits(path, expected)
    # all processes must agree: a process that extracts alone would wait for the others forever
    if all(comm.all_gather(cache is not None)):
        return cache
    loader = build_detection_test_loader(
        list(dataset_dicts),
        mapper=NamingMapper(mapper),
        batch_size=max(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), 1),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    if cfg.INPUT.ON_CORRUPT != "skip":
        loader = StopAtUnreadable(loader, TRAINING_ADVICE)
    cache = replace(extract_roi_batches(cfg, model, loader), fingerprint=expected)
    if comm.is_main_process():
        cache.save(path)
        logger.info("Wrote RoI batches of %d slices to %s", len(cache), path)
    comm.synchronize()
    return cache


def _load_if_fits(path: Path, expected: Fingerprint) -> RoIBatches | None:
    try:
        cache = RoIBatches.load(path, expected)
    except FileNotFoundError:
        return None
    except StaleCacheError as error:
        logger.warning("%s Computing them again.", error)
        return None
    logger.info("Read RoI batches of %d slices from %s", len(cache), path)
    return cache


def slices_left_out(cache: RoIBatches, dataset_dicts: Sequence[dict]) -> list[str]:
    """File names of the slices without an RoI batch, because they could not be read."""
    kept = set(cache.file_name.tolist())
    return [str(r["file_name"]) for r in dataset_dicts if str(r["file_name"]) not in kept]


def build_cached_train_loader(cfg: CfgNode, cache: RoIBatches, seed: int) -> TrainingStream:
    """Build a loader from memory, in the order of ``build_training_stream`` with the same seed."""
    slices = cache.inputs()
    # without workers, because there is no file to read
    return make_stream(cfg, _SlicesInMemory(slices), slices, seed, num_workers=0)


class _SlicesInMemory(Dataset):
    """Dataset of prepared inputs for a :class:`TrainingStream`; returns shallow copies."""

    def __init__(self, slices: list[dict]) -> None:
        self._slices = slices

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, position: StreamPosition) -> dict:
        return dict(self._slices[position[1]])
