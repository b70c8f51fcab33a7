"""RoI batches of a detector that does not learn: computed once, kept in a file, trained on.

With ``MODEL.CLASSIFIER.TRAIN_BATCHNORM`` "none" the RoI batch of a slice never changes, so one pass
of the detector over a dataset is all that training S needs. In a trainer, once the weights are
loaded::

    if can_cache(cfg):
        dicts = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
        cache = load_or_extract(cfg, model, dicts, mapper)
        loader = build_cached_train_loader(cfg, cache, seed)

Shapes: M slices, N RoIs a slice.
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
from torch.utils.data import DataLoader, Dataset

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

from .fingerprint import fingerprint, unwrap_model

logger = logging.getLogger(__name__)


def can_cache(cfg: CfgNode) -> bool:
    """Whether each slice has one RoI batch for the whole training.

    It has when nothing in the detector learns and nothing in the input is random. What stands
    against it is logged.
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
        logger.info("RoI batches are not cached: %s changes the slices.", ", ".join(reasons))
    return not reasons


def extract_roi_batches(cfg: CfgNode, model: nn.Module, data_loader: Iterable) -> RoIBatches:
    """One pass of the detector over a dataset.

    Random number generators are left as they were, so that a training that follows draws what it
    would have drawn without the pass. With several processes each passes its share, and all get
    the whole.

    Args:
        cfg: the model's config, for the record and for ``MODEL.FAST_PATH``.
        model: a ``COVIDCTMaskNet``, or one wrapped for distributed training.
        data_loader: yields lists of inputs, each slice once, in the order of the dataset, as
            Detectron2's ``build_detection_test_loader`` does. What is :class:`Unreadable` among
            them is passed over.

    Returns:
        the RoI batches, with an empty fingerprint.
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
            log_every_n_seconds(logging.INFO, f"RoI batches of {len(rows)} slices", n=10)
    model.train(was_training)
    rows = [row for part in comm.all_gather(rows) for row in part]
    if not rows:
        raise DatasetError("There is no slice to compute RoI batches of.")
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
    path: str | Path | None = None,
) -> RoIBatches:
    """RoI batches from their file if it fits model, config and dataset; computed otherwise.

    Args:
        cfg: the model's config.
        model: a ``COVIDCTMaskNet`` with its weights loaded.
        dataset_dicts: records of the dataset, e.g. of ``get_detection_dataset_dicts``.
        mapper: turns a record into an input; the mapper of the training without the cache.
        path: the file, ``roi_batches.npz`` in ``OUTPUT_DIR`` if not given. It is written, or
            replaced if it does not fit.

    Raises:
        DatasetError: a slice cannot be read, and ``INPUT.ON_CORRUPT`` does not say "skip", which
            leaves it out; see :func:`slices_left_out`.
    """
    path = Path(path or Path(cfg.OUTPUT_DIR) / "roi_batches.npz")
    expected = fingerprint(cfg, model, dataset_dicts)
    cache = _load_if_fits(path, expected)
    # all processes must agree, or the one that extracts waits for the others forever
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
        logger.info("RoI batches of %d slices are in %s", len(cache), path)
    comm.synchronize()
    return cache


def _load_if_fits(path: Path, expected: Fingerprint) -> RoIBatches | None:
    try:
        cache = RoIBatches.load(path, expected)
    except FileNotFoundError:
        return None
    except StaleCacheError as error:
        logger.warning("%s They are computed again now.", error)
        return None
    logger.info("RoI batches of %d slices come from %s", len(cache), path)
    return cache


def slices_left_out(cache: RoIBatches, dataset_dicts: Sequence[dict]) -> list[str]:
    """File names of the slices that have no RoI batch because they could not be read."""
    kept = set(cache.file_name.tolist())
    return [str(r["file_name"]) for r in dataset_dicts if str(r["file_name"]) not in kept]


def build_cached_train_loader(cfg: CfgNode, cache: RoIBatches, seed: int) -> TrainingStream:
    """Batches of RoI batches in memory, in the order of ``build_training_stream`` of this seed."""
    slices = _Slices(cache)
    # no workers: there is nothing to read
    return make_stream(cfg, _SlicesAtPlaces(slices), slices.slices, seed, num_workers=0)


def build_cached_test_loader(cache: RoIBatches, batch_size: int = 64) -> DataLoader:
    """Every slice of the cache once, in order, as ``build_detection_test_loader`` yields them."""
    return build_detection_test_loader(_Slices(cache), mapper=dict, batch_size=batch_size)


class _Slices(Dataset):
    """The slices of a cache in memory: Detectron2 would pickle a list of them."""

    def __init__(self, cache: RoIBatches) -> None:
        self.slices = cache.inputs()

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> dict:
        return self.slices[index]


class _SlicesAtPlaces(Dataset):
    """Copies of the slices, by their position in a :class:`TrainingStream`."""

    def __init__(self, slices: _Slices) -> None:
        self._slices = slices

    def __len__(self) -> int:
        return len(self._slices)

    def __getitem__(self, position: StreamPosition) -> dict:
        return dict(self._slices[position[1]])
