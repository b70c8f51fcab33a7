"""Converts CNCB's lesion archive to images and COCO json files for Detectron2."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ct_lesion.errors import DatasetError
from ct_lesion.files import write_new
from ct_lesion.scans.windows import UNKNOWN, Window

from ..datasets.lesion_coco import (
    CocoDataset,
    SplitSummary,
    check_output,
    write_annotations,
    written_at_once,
)
from ..datasets.lesion_masks import MASK_TYPES
from ..datasets.splits import SliceId, Split, check_patients_apart, splits_to_write
from .cncb_archive import Archive, ArchiveSlice, pair_slices, read_all_labels


def find_slices(archive: Archive) -> list[ArchiveSlice]:
    """Find all slices of an archive.

    Raises:
        DatasetError: there are images without masks, masks without images, or repeated slices. The
            message also lists the faults inside the other files.
    """
    pairs, problems = pair_slices(archive)
    if problems:
        results = (result for _, result in read_all_labels(archive, _with_progress(pairs)))
        problems += [str(result) for result in results if isinstance(result, DatasetError)]
    _raise_if_any(archive, problems)
    return pairs


def prepare_cncb(
    archive: Archive,
    pairs: Sequence[ArchiveSlice],
    split: Split,
    output: str | Path,
    mask_types: Sequence[str] = tuple(MASK_TYPES),
    min_area: int = 100,
    overwrite: bool = False,
    window: Window = UNKNOWN,
) -> dict[str, dict[str, SplitSummary]]:
    """Write ``images/<patient>/<slice>`` and one COCO json per mask type and split.

    Images are copied byte for byte; lesion-free slices are kept. All files are checked before
    anything is written, and the output is written completely or not at all.

    Args:
        archive: with the image and mask files.
        pairs: its slices, from :func:`find_slices`.
        split: slices of ``train``, ``test`` and, optionally, ``val``.
        output: folder to write to.
        mask_types: keys of ``MASK_TYPES``.
        min_area: lesions of fewer pixels are background.
        overwrite: replace an earlier dataset in ``output``.
        window: how the archive's images were made from HU.

    Returns:
        Summaries by dataset and split.

    Raises:
        DatasetError: a patient is in two splits, files are faulty (the message lists all), or the
            output exists.
    """
    check_patients_apart(split)
    output = Path(output)
    check_output(output, overwrite)
    by_id = {pair.id: pair for pair in pairs}
    chosen = {n: [by_id[i] for i in sorted(ids)] for n, ids in splits_to_write(split).items()}
    used = list({pair.id: pair for of_split in chosen.values() for pair in of_split}.values())
    labels = _read_checked(archive, used)
    with written_at_once(output) as (images, annotations):
        _copy_images(archive, used, images)
        datasets = (
            _coco_json(of_split, labels, key, name, min_area, window)
            for key in mask_types
            for name, of_split in chosen.items()
        )
        return write_annotations(annotations, datasets)


def _read_checked(archive: Archive, pairs: Sequence[ArchiveSlice]) -> dict[SliceId, np.ndarray]:
    """Labels of all slices.

    Raises:
        DatasetError: lists all faulty files.
    """
    labels, problems = {}, []
    for pair, result in read_all_labels(archive, _with_progress(pairs)):
        if isinstance(result, DatasetError):
            problems.append(str(result))
        else:
            labels[pair.id] = result
    _raise_if_any(archive, problems)
    return labels


def _with_progress(pairs: Sequence[ArchiveSlice]) -> tqdm:
    return tqdm(pairs, desc="reading slices", unit="slice", disable=None)


def _raise_if_any(archive: Archive, problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError(
            f"{archive.path}: {len(problems)} faulty files, nothing was written. Correct or remove "
            "them:\n" + "\n".join(f"  {problem}" for problem in problems)
        )


def _coco_json(
    pairs: Sequence[ArchiveSlice],
    labels: Mapping[SliceId, np.ndarray],
    mask_type: str,
    split: str,
    min_area: int,
    window: Window,
) -> CocoDataset:
    dataset = CocoDataset("CNCB chest CT lesions", mask_type, split, min_area, window)
    for pair in pairs:
        scan = pair.id.patient  # the archive has one scan per patient
        dataset.add(pair.id, _image_name(pair), scan, labels[pair.id], lung_known=True)
    return dataset


def _image_name(pair: ArchiveSlice) -> str:
    return f"{pair.id.patient}/{pair.id.slice}{Path(pair.image).suffix}"


def _copy_images(archive: Archive, pairs: Sequence[ArchiveSlice], folder: Path) -> None:
    for pair in tqdm(pairs, desc="copying images", unit="slice", disable=None):
        write_new(folder / _image_name(pair), archive.read(pair.image))
