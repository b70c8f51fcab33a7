"""RoI batches of a detector that does not learn: computed once, kept in a file, trained on.

With ``MODEL.CLASSIFIER.TRAIN_BATCHNORM`` "none" the RoI batch of a slice never changes, so one pass
of the detector over a dataset is all that training S needs. In a trainer, once the weights are
loaded::

    if can_cache(cfg):
        dicts = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=False)
        cache = load_or_extract(cfg, model, dicts, mapper)
        loader = build_cached_train_loader(cfg, cache, sampler=sampler_of(loader))

Shapes: M slices, N RoIs a slice.
"""

import json
import logging
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.utils import comm
from detectron2.utils.logger import log_every_n_seconds
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ct_lesion.data.errors import DatasetError
from ct_lesion.files import atomic_write

from .fingerprint import NO_LABEL, Fingerprint, unwrap_model

logger = logging.getLogger(__name__)

_PASSED_ON = ("label", "file_name", "image_id", "patient", "scan", "height", "width")


class StaleCacheError(ValueError):
    """A file of RoI batches that cannot be used; the message says why."""


@dataclass(frozen=True)
class RoIBatchCache:
    """RoI batches of a dataset, in its order, and what they were computed from.

    Boxes are in pixels of the original slice. Labels of unlabelled slices are -1, patient,
    scan and image_id of slices without one are empty.
    """

    roi_batch: np.ndarray  # (M, N, 5) float32
    boxes: np.ndarray  # (M, N, 4) float32
    classes: np.ndarray  # (M, N) lesion class of each region
    is_copy: np.ndarray  # (M, N) rows that repeat the row above
    label: np.ndarray  # (M,)
    file_name: np.ndarray  # (M,)
    image_id: np.ndarray  # (M,) as text
    patient: np.ndarray  # (M,)
    scan: np.ndarray  # (M,)
    height: np.ndarray  # (M,)
    width: np.ndarray  # (M,)
    config: str = ""  # the whole config as yaml
    fingerprint: Fingerprint = field(default_factory=lambda: Fingerprint("", "", ""))

    def __len__(self) -> int:
        return len(self.roi_batch)

    def inputs(self) -> list[dict]:
        """The slices as inputs of ``COVIDCTMaskNet`` that skip the detector."""
        columns = {key: self.__dict__[key].tolist() for key in _PASSED_ON}
        slices = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
        for item, rows in zip(slices, torch.from_numpy(self.roi_batch), strict=True):
            item["roi_batch"] = rows
            if item["label"] == NO_LABEL:
                del item["label"]
        return slices

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` that appears at ``path`` only when it is complete."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: self.__dict__[f.name] for f in fields(self)}
        arrays["fingerprint"] = json.dumps(asdict(self.fingerprint))
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | Path, expected: Fingerprint | None = None) -> "RoIBatchCache":
        """Read a file written by :meth:`save`.

        Args:
            path: the file.
            expected: if given, the fingerprint that the file must have.

        Raises:
            FileNotFoundError: no such file.
            StaleCacheError: the file is damaged, or belongs to other weights, another config or
                other slices; the message names all that differ.
        """
        names = [f.name for f in fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in names}
            fingerprint = Fingerprint(**json.loads(str(content["fingerprint"])))
        except (zipfile.BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
            raise StaleCacheError(f"{path} is not a complete file of RoI batches.") from error
        differing = [
            name
            for name, value in asdict(expected or fingerprint).items()
            if value != getattr(fingerprint, name)
        ]
        if differing:
            raise StaleCacheError(
                f"{path} holds RoI batches of other {' and other '.join(differing)}. "
                "Delete it to compute them again."
            )
        content |= {"config": str(content["config"]), "fingerprint": fingerprint}
        return cls(**content)


def can_cache(cfg: CfgNode) -> bool:
    """Whether each slice has one RoI batch for the whole training.

    It has when nothing in the detector learns and nothing in the input is random. What stands
    against it is logged.
    """
    if cfg.MODEL.META_ARCHITECTURE != "COVIDCTMaskNet":
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


def extract_roi_batches(cfg: CfgNode, model: nn.Module, data_loader: Iterable) -> RoIBatchCache:
    """One pass of the detector over a dataset.

    Random number generators are left as they were, so that a training that follows draws what it
    would have drawn without the pass. With several processes each passes its share, and all get
    the whole.

    Args:
        cfg: the model's config, for the record.
        model: a ``COVIDCTMaskNet``, or one wrapped for distributed training.
        data_loader: yields lists of inputs, each slice once, in the order of the dataset, as
            Detectron2's ``build_detection_test_loader`` does.

    Returns:
        the RoI batches, with an empty fingerprint.
    """
    model = unwrap_model(model)
    rows: list[dict] = []
    was_training = model.training
    model.eval()
    with torch.no_grad(), _untouched_random_state():
        for inputs in data_loader:
            outputs = model(inputs)
            rows += [_record(i, o) for i, o in zip(inputs, outputs, strict=True)]
            log_every_n_seconds(logging.INFO, f"RoI batches of {len(rows)} slices", n=10)
    model.train(was_training)
    rows = [row for part in comm.all_gather(rows) for row in part]
    if not rows:
        raise DatasetError("There is no slice to compute RoI batches of.")
    return RoIBatchCache(
        **{key: np.stack([row[key] for row in rows]) for key in rows[0]}, config=cfg.dump()
    )


def _record(item: dict, output: dict) -> dict[str, np.ndarray]:
    regions = output["instances"]
    return {
        "roi_batch": output["roi_batch"].float().cpu().numpy(),
        "boxes": regions.pred_boxes.tensor.float().cpu().numpy(),
        "classes": regions.pred_classes.cpu().numpy(),
        "is_copy": regions.is_copy.cpu().numpy(),
        "label": np.asarray(int(item.get("label", NO_LABEL))),
        **{
            key: np.asarray(str(item.get(key, "")))
            for key in ("file_name", "image_id", "patient", "scan")
        },
        "height": np.asarray(regions.image_size[0]),
        "width": np.asarray(regions.image_size[1]),
    }


def load_or_extract(
    cfg: CfgNode,
    model: nn.Module,
    dataset_dicts: Sequence[dict],
    mapper: Callable[[dict], dict],
    path: str | Path | None = None,
) -> RoIBatchCache:
    """RoI batches from their file if it fits model, config and dataset; computed otherwise.

    Args:
        cfg: the model's config.
        model: a ``COVIDCTMaskNet`` with its weights loaded.
        dataset_dicts: records of the dataset, e.g. of ``get_detection_dataset_dicts``.
        mapper: turns a record into an input; the mapper of the training without the cache.
        path: the file, ``roi_batches.npz`` in ``OUTPUT_DIR`` if not given. It is written, or
            replaced if it does not fit.
    """
    path = Path(path or Path(cfg.OUTPUT_DIR) / "roi_batches.npz")
    expected = Fingerprint.of(cfg, model, dataset_dicts)
    cache = _load_if_fits(path, expected)
    # all processes must agree, or the one that extracts waits for the others forever
    if all(comm.all_gather(cache is not None)):
        return cache
    loader = build_detection_test_loader(
        list(dataset_dicts),
        mapper=mapper,
        batch_size=max(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), 1),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
    )
    cache = replace(extract_roi_batches(cfg, model, loader), fingerprint=expected)
    if comm.is_main_process():
        cache.save(path)
        logger.info("RoI batches of %d slices are in %s", len(cache), path)
    comm.synchronize()
    return cache


def _load_if_fits(path: Path, expected: Fingerprint) -> RoIBatchCache | None:
    try:
        cache = RoIBatchCache.load(path, expected)
    except FileNotFoundError:
        return None
    except StaleCacheError as error:
        logger.warning("%s They are computed again now.", error)
        return None
    logger.info("RoI batches of %d slices come from %s", len(cache), path)
    return cache


def build_cached_train_loader(
    cfg: CfgNode, cache: RoIBatchCache, sampler: Sampler | None = None
) -> Iterable[list[dict]]:
    """Detectron2's training loader over RoI batches in memory.

    Slices come in the order of ``build_detection_train_loader(cfg)``: pass its sampler
    (:func:`sampler_of`), or build this loader in its place. In the latter case the seed is drawn
    from NumPy's generator, as Detectron2 does, so the order is the same whenever ``cfg.SEED`` is.
    """
    return build_detection_train_loader(
        cfg,
        dataset=_Slices(cache),
        mapper=dict,  # a copy of the record; without a mapper Detectron2 would read files
        sampler=sampler,
        num_workers=0,  # there is nothing to read
    )


def build_cached_test_loader(cache: RoIBatchCache, batch_size: int = 64) -> DataLoader:
    """Every slice of the cache once, in order, as ``build_detection_test_loader`` yields them."""
    return build_detection_test_loader(_Slices(cache), mapper=dict, batch_size=batch_size)


class _Slices(Dataset):
    """The slices of a cache in memory: Detectron2 would pickle a list of them."""

    def __init__(self, cache: RoIBatchCache) -> None:
        self.slices = cache.inputs()

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> dict:
        return self.slices[index]


def sampler_of(train_loader: Iterable) -> Sampler:
    """The sampler of a loader made by Detectron2's ``build_detection_train_loader``."""
    inner = train_loader
    while not hasattr(inner, "sampler") or isinstance(inner, DataLoader):
        if not hasattr(inner, "dataset"):
            raise TypeError(f"{type(train_loader).__name__} has no sampler of Detectron2's inside.")
        inner = inner.dataset
    return inner.sampler


@contextmanager
def _untouched_random_state() -> Iterator[None]:
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        yield
    random.setstate(python_state)
    np.random.set_state(numpy_state)
