"""The batches of a training, each a function of the run's seed and of its number.

Detectron2's training loader goes on from wherever its worker processes are, which a killed run
cannot know. This one can start at any iteration, and neither the number of workers nor what they
have read ahead changes a batch: indices of slices come from Detectron2's sampler, are grouped by
shape as it would, and those of earlier iterations are passed over without reading a file; what is
random in a slice is seeded by its place in the stream.
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

from ct_lesion.config import check_choice
from ct_lesion.errors import DatasetError
from ct_lesion.pictures import read_image_header

from .seeding import derived_seed, seeded
from .unreadable import TRAINING_ADVICE, NamingMapper, Unreadable

logger = logging.getLogger(__name__)

ON_CORRUPT = ("stop", "skip")
SAMPLERS = ("TrainingSampler", "RandomSubsetTrainingSampler", "RepeatFactorTrainingSampler")
# so many unreadable slices in a row are a disk that went away rather than damaged files
MAX_REPLACEMENTS = 10
# in a slice that took the place of others: what these were
REPLACED = "replaced"

Place = tuple[int, int]  # in the stream of all processes, and the index of a slice in the dataset


class TrainingStream:
    """An endless iterable of batches, lists of what the mapper gives.

    Attributes:
        start: the iteration whose batch comes first; to be set before iterating.
        last_batch: the slices that were handed out last.
        skipped: file name and reason of each slice that this process met and could not read.
    """

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        *,
        batch_size: int,
        wide: np.ndarray | None = None,
        num_workers: int = 0,
    ) -> None:
        """
        Args:
            dataset: gives the input at a :data:`Place`.
            sampler: endless indices, the share of this process; the same each time it is iterated.
            batch_size: of this process.
            wide: for each index whether the slice is wider than high; if given, no batch holds
                both kinds.
            num_workers: processes that read.
        """
        self.start = 0
        self.last_batch: list[dict] = []
        self.skipped: dict[str, str] = {}
        self._dataset = dataset
        self._batches = _Batches(sampler, batch_size, wide)
        self._num_workers = num_workers

    def __iter__(self) -> Iterator[list[dict]]:
        """
        Raises:
            DatasetError: a slice cannot be read and may not be skipped, or too many cannot.
        """
        loader = DataLoader(
            self._dataset,
            batch_sampler=_From(self._batches, self.start),
            num_workers=self._num_workers,
            collate_fn=list,
            generator=torch.Generator(),  # not the global one, which the model draws from
        )
        for batch in loader:
            for item in batch:
                self._note(item)
            self.last_batch = batch
            yield batch

    def _note(self, item: dict | Unreadable) -> None:
        if isinstance(item, Unreadable):
            raise DatasetError(item.message)
        for slice_ in item.pop(REPLACED, ()):
            if slice_.file_name not in self.skipped:
                self.skipped[slice_.file_name] = slice_.reason
                logger.warning("Skipped: %s Another slice takes its place.", slice_.message)


class _Batches:
    """Places of the slices of each batch, from the first on."""

    def __init__(self, sampler: Sampler, batch_size: int, wide: np.ndarray | None) -> None:
        self._sampler = sampler
        self._batch_size = batch_size
        self._wide = wide
        self._rank, self._processes = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[list[Place]]:
        buckets: tuple[list[Place], list[Place]] = ([], [])
        for number, index in enumerate(self._sampler):
            bucket = buckets[self._wide is not None and bool(self._wide[index])]
            bucket.append((number * self._processes + self._rank, index))
            if len(bucket) == self._batch_size:
                yield bucket[:]
                bucket.clear()


class _From:
    """An iterable without its first items."""

    def __init__(self, items: Iterable, start: int) -> None:
        self._items, self._start = items, start

    def __iter__(self) -> Iterator:
        return itertools.islice(self._items, self._start, None)


class MappedSlices(Dataset):
    """What a mapper makes of the slice at a place; its random draws depend on the place alone."""

    def __init__(
        self,
        records: Dataset,
        mapper: Callable[[dict], dict],
        seed: int,
        on_corrupt: str = "stop",
    ) -> None:
        """
        Args:
            records: of the slices.
            mapper: turns a record into an input.
            seed: of the run.
            on_corrupt: "stop" gives an :class:`Unreadable` where an image cannot be read; "skip"
                another slice, drawn at random, which says so under :data:`REPLACED`.

        Raises:
            ConfigError: something else than these two.
        """
        check_choice("INPUT.ON_CORRUPT", on_corrupt, ON_CORRUPT)
        self._records = records
        self._mapper = NamingMapper(mapper)
        self._seed = seed
        self._skips = on_corrupt == "skip"

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, place: Place) -> dict | Unreadable:
        number, index = place
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
        f"{item.message} That is the last of {MAX_REPLACEMENTS} slices in a row that cannot be "
        "read: is the disk with the images there?",
    )


def build_training_stream(
    cfg: CfgNode, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int
) -> TrainingStream:
    """The batches of a training of ``cfg``: sampler, batch size and grouping as Detectron2's.

    Args:
        cfg: of the training.
        records: of the slices.
        mapper: turns a record into an input.
        seed: of the run.

    Raises:
        ConfigError: a key of the loader has a value that is not known.
    """
    dataset = DatasetFromList(list(records), copy=False)
    mapped = MappedSlices(dataset, mapper, seed, cfg.INPUT.ON_CORRUPT)
    return make_stream(cfg, mapped, records, seed, cfg.DATALOADER.NUM_WORKERS)


def make_stream(
    cfg: CfgNode, dataset: Dataset, records: Sequence[dict], seed: int, num_workers: int
) -> TrainingStream:
    """:func:`build_training_stream` of a dataset that gives the input at a :data:`Place`."""
    batch_size = max(cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(), 1)
    groups = cfg.DATALOADER.ASPECT_RATIO_GROUPING and batch_size > 1
    return TrainingStream(
        dataset,
        _build_sampler(cfg, records, seed),
        batch_size=batch_size,
        wide=_wider_than_high(records) if groups else None,
        num_workers=num_workers,
    )


def _build_sampler(cfg: CfgNode, records: Sequence[dict], seed: int) -> Sampler:
    """The sampler ``DATALOADER.SAMPLER_TRAIN``, as Detectron2's training loader builds it."""
    name, loader = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER
    check_choice("DATALOADER.SAMPLER_TRAIN", name, SAMPLERS)
    with seeded(derived_seed(seed, "order")):  # Detectron2 draws a sampler's seed from NumPy
        if name == "TrainingSampler":
            return TrainingSampler(len(records))
        if name == "RandomSubsetTrainingSampler":
            return RandomSubsetTrainingSampler(len(records), loader.RANDOM_SUBSET_RATIO)
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        records, loader.REPEAT_THRESHOLD, sqrt=loader.REPEAT_SQRT
    )
    return RepeatFactorTrainingSampler(factors, seed=seed)


def _wider_than_high(records: Sequence[dict]) -> np.ndarray:
    """For each record whether its image is; files are looked into where a record does not say."""
    sizes = (
        (r["width"], r["height"]) if "width" in r else read_image_header(r["file_name"])[:2]
        for r in records
    )
    return np.fromiter((width > height for width, height in sizes), bool, len(records))
