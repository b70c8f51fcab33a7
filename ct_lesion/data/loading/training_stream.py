"""Training batches that depend on the run's seed and the iteration only.

Detectron2's training loader keeps its position in worker processes, which is lost when a run is
killed. This loader can start at any iteration, and neither the number of workers nor their
prefetching changes a batch. Slice indices come from Detectron2's sampler and are grouped by aspect
ratio as in Detectron2; earlier iterations are skipped without reading files. The augmentation of a
slice is seeded by its position in the stream.
"""

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from ct_lesion.config_values import check_choice
from ct_lesion.errors import DatasetError
from ct_lesion.pictures import read_image_header

from .seeding import derived_seed, seeded
from .unreadable import TRAINING_ADVICE, NamingMapper, Unreadable

logger = logging.getLogger(__name__)

MAX_REPLACEMENTS = 10
"""More unreadable slices in a row mean a missing disk rather than damaged files."""
REPLACED = "replaced"
"""Key in an input that lists the unreadable slices it replaces."""

StreamPosition = tuple[int, int]
"""Position in the stream over all processes, and index of the slice in the dataset."""


class TrainingStream:
    """An endless iterable of batches; a batch is a list of the mapper's outputs.

    Attributes:
        start: iteration of the first batch; set it before iterating.
        last_batch: the latest batch.
        skipped: file name and reason of each unreadable slice that this process skipped.
        records: records of the dataset.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        *,
        batch_size: int,
        records: Sequence[dict] = (),
        wide: np.ndarray | None = None,
        num_workers: int = 0,
    ) -> None:
        """
        Args:
            dataset: maps a :data:`StreamPosition` to an input.
            sampler: endless slice indices of this process, the same in every iteration over it.
            batch_size: inputs per batch of this process.
            records: records of the dataset.
            wide: whether each slice is wider than high; if given, a batch does not mix wide and
                high slices.
            num_workers: number of reading processes.
        """
        self.start = 0
        self.last_batch: list[dict] = []
        self.skipped: dict[str, str] = {}
        self.records = records
        self._dataset = dataset
        self._batches = _Batches(sampler, batch_size, wide)
        self._num_workers = num_workers

    def __iter__(self) -> Iterator[list[dict]]:
        """
        Raises:
            DatasetError: a slice is unreadable and must not be skipped, or too many in a row are.
        """
        loader = DataLoader(
            self._dataset,
            batch_sampler=_StartingAt(self._batches, self.start),
            num_workers=self._num_workers,
            collate_fn=list,
            generator=torch.Generator(),  # not the global one, which the model draws from
        )
        for batch in loader:
            for item in batch:
                self._report_unreadable(item)
            self.last_batch = batch
            yield batch

    def _report_unreadable(self, item: dict | Unreadable) -> None:
        if isinstance(item, Unreadable):
            raise DatasetError(item.message)
        for skipped in item.pop(REPLACED, ()):
            if skipped.file_name not in self.skipped:
                self.skipped[skipped.file_name] = skipped.reason
                logger.warning("Skipped: %s Another slice replaces it.", skipped.message)


class _Batches:
    """The positions of each batch, from iteration 0."""

    def __init__(self, sampler: Sampler, batch_size: int, wide: np.ndarray | None) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._wide = wide
        self._rank, self._processes = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[list[StreamPosition]]:
        buckets: tuple[list[StreamPosition], list[StreamPosition]] = ([], [])
        for number, index in enumerate(self._sampler):
            bucket = buckets[self._wide is not None and bool(self._wide[index])]
            bucket.append((number * self._processes + self._rank, index))
            if len(bucket) == self._batch_size:
                yield bucket[:]
                bucket.clear()


class _StartingAt:
    """An iterable without its first ``start`` items."""

    def __init__(self, items: Iterable, start: int) -> None:
        self._items, self._start = items, start

    def __iter__(self) -> Iterator:
        return itertools.islice(self._items, self._start, None)


class MappedSlices(Dataset):
    """Mapped slices by position; the mapper's draws are seeded by run and position only."""

    def __init__(
        self,
        records: Dataset,
        mapper: Callable[[dict], dict],
        seed: int,
        on_corrupt: str = "stop",
    ) -> None:
        """
        Args:
            records: records of the dataset.
            mapper: turns a record into an input.
            seed: seed of the run.
            on_corrupt: "stop" returns an :class:`Unreadable` for an unreadable image; "skip"
                returns another slice, drawn at random, with :data:`REPLACED` set.

        Raises:
            ConfigError: ``on_corrupt`` has another value.
        """
        check_choice("INPUT.ON_CORRUPT", on_corrupt)
        self._records = records
        self._mapper = NamingMapper(mapper)
        self._seed = seed
        self._skips = on_corrupt == "skip"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, position: StreamPosition) -> dict | Unreadable:
        number, index = position
        replaced: list[Unreadable] = []
        with seeded(derived_seed(self._seed, "slice", number)):
            while True:
                item = self._mapper(self._records[index])
                if not isinstance(item, Unreadable):
                    return item | {REPLACED: replaced} if replaced else item
                if not self._skips:
                    return Unreadable(item.file_name, f"{item.message} {TRAINING_ADVICE}")
                replaced.append(item)
                if len(replaced) >= MAX_REPLACEMENTS:
                    return _too_many(item)
                index = derived_seed(self._seed, "instead", number, len(replaced)) % len(self)


def _too_many(item: Unreadable) -> Unreadable:
    return Unreadable(
        item.file_name,
        f"{item.message} {MAX_REPLACEMENTS} slices in a row cannot be read. Check that the disk "
        "with the images is available.",
    )


def build_training_stream(
    cfg: CfgNode, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int
) -> TrainingStream:
    """Build the training batches of ``cfg``, with sampler, batch size and grouping of Detectron2.

    Args:
        cfg: the training config.
        records: records of the dataset.
        mapper: turns a record into an input.
        seed: seed of the run.

    Raises:
        ConfigError: a key of the loader has an unknown value.
    """
    dataset = DatasetFromList(list(records), copy=False)
    mapped = MappedSlices(dataset, mapper, seed, cfg.INPUT.ON_CORRUPT)
    return make_stream(cfg, mapped, records, seed, cfg.DATALOADER.NUM_WORKERS)


def make_stream(
    cfg: CfgNode, dataset: Dataset, records: Sequence[dict], seed: int, num_workers: int
) -> TrainingStream:
    """Like :func:`build_training_stream`, for a dataset indexed by :data:`StreamPosition`."""
    batch_size = max(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), 1)
    groups = cfg.DATALOADER.ASPECT_RATIO_GROUPING and batch_size > 1
    return TrainingStream(
        dataset,
        _build_sampler(cfg, records, seed),
        batch_size=batch_size,
        records=records,
        wide=_wider_than_high(records) if groups else None,
        num_workers=num_workers,
    )


def _build_sampler(cfg: CfgNode, records: Sequence[dict], seed: int) -> Sampler:
    """The sampler ``DATALOADER.SAMPLER_TRAIN``, as Detectron2's training loader builds it."""
    name, loader = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER
    check_choice("DATALOADER.SAMPLER_TRAIN", name)
    with seeded(derived_seed(seed, "order")):  # Detectron2 draws a sampler's seed from NumPy
        if name == "TrainingSampler":
            return TrainingSampler(len(records))
        if name == "RandomSubsetTrainingSampler":
            return RandomSubsetTrainingSampler(len(records), loader.RANDOM_SUBSET_RATIO)
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        [_with_classes(record) for record in records],
        loader.REPEAT_THRESHOLD,
        sqrt=loader.REPEAT_SQRT,
    )
    return RepeatFactorTrainingSampler(factors, seed=seed)


def _with_classes(record: dict) -> dict:
    """A record in the form that repeat factors need: a slice's label becomes a lesion's category.

    Raises:
        DatasetError: the record has neither lesions nor a class.
    """
    if "annotations" in record:
        return record
    if "label" not in record:
        raise DatasetError(
            f"{record['file_name']}: its record has neither annotations nor a label, one of which "
            "RepeatFactorTrainingSampler needs. Set DATALOADER.SAMPLER_TRAIN TrainingSampler."
        )
    return {"annotations": [{"category_id": record["label"]}]}


def _wider_than_high(records: Sequence[dict]) -> np.ndarray:
    """Whether each image is wider than high; without a recorded size, its header is read."""
    sizes = (
        (r["width"], r["height"]) if "width" in r else read_image_header(r["file_name"])[:2]
        for r in records
    )
    return np.fromiter((width > height for width, height in sizes), bool, len(records))
