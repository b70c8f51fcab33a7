"""From CNCB's lesion archive to images and COCO json files that Detectron2 trains on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ct_lesion.errors import DatasetError

from ..datasets.lesion_coco import (
    ANNOTATION_FOLDER,
    IMAGE_FOLDER,
    CocoDataset,
    SplitSummary,
    annotation_file,
    check_output,
    written_at_once,
)
from ..datasets.lesion_masks import MASK_TYPES
from ..datasets.splits import SPLITS, SliceId, Split, check_patients_apart
from .cncb_archive import Archive, ArchiveSlice, pair_slices, read_all_labels


def find_slices(archive: Archive) -> list[ArchiveSlice]:
    """All slices of an archive.

    Raises:
        DatasetError: images without masks, masks without images, or slices that stand twice; then
            what is wrong inside the other files is named as well.
    """
    pairs, problems = pair_slices(archive)
    if problems:
        results = (result for _, result in read_all_labels(archive, _with_progress(pairs)))
        problems += [str(result) for result in results if isinstance(result, DatasetError)]
    _stop_at(archive, problems)
    return pairs


def prepare_cncb(
    archive: Archive,
    pairs: Sequence[ArchiveSlice],
    split: Split,
    output: str | Path,
    mask_types: Sequence[str] = tuple(MASK_TYPES),
    min_area: int = 100,
    overwrite: bool = False,
) -> dict[str, dict[str, SplitSummary]]:
    """Write ``images/<patient>/<slice>`` and one COCO json a mask type and split.

    Images are copied byte for byte; lesion-free slices are kept. All files are checked before
    anything is written, and the output appears at once or not at all.

    Args:
        archive: where the files are.
        pairs: its slices, from :func:`find_slices`.
        split: slices of ``train``, ``val`` and ``test``; without ``val`` the test split serves.
        output: folder to write to.
        mask_types: keys of ``MASK_TYPES``.
        min_area: lesions of fewer pixels are background.
        overwrite: replace what an earlier run wrote there.

    Returns:
        Summaries by dataset and split.

    Raises:
        DatasetError: a patient in two splits, faulty files (all of them named), or an output
            that exists.
    """
    check_patients_apart(split)
    output = Path(output)
    check_output(output, overwrite)
    by_id = {pair.id: pair for pair in pairs}
    chosen = {name: [by_id[i] for i in sorted(split.get(name, []))] for name in SPLITS}
    labels = _read_checked(archive, [p for name in SPLITS for p in chosen[name]])
    chosen["val"] = chosen["val"] or chosen["test"]

    summaries: dict[str, dict[str, SplitSummary]] = {}
    with written_at_once(output) as partial:
        _copy_images(archive, [by_id[i] for i in labels], partial / IMAGE_FOLDER)
        (partial / ANNOTATION_FOLDER).mkdir()
        for key in mask_types:
            dataset = MASK_TYPES[key].dataset
            for name in SPLITS:
                coco = _coco_json(chosen[name], labels, key, name, min_area)
                path = partial / annotation_file(dataset, name)
                path.write_text(json.dumps(coco.json), encoding="utf-8")
                summaries.setdefault(dataset, {})[name] = coco.summary()
    return summaries


def _read_checked(archive: Archive, pairs: Sequence[ArchiveSlice]) -> dict[SliceId, np.ndarray]:
    """Labels of all slices, or every fault there is."""
    labels, problems = {}, []
    for pair, result in read_all_labels(archive, _with_progress(pairs)):
        if isinstance(result, DatasetError):
            problems.append(str(result))
        else:
            labels[pair.id] = result
    _stop_at(archive, problems)
    return labels


def _with_progress(pairs: Sequence[ArchiveSlice]) -> tqdm:
    return tqdm(pairs, desc="reading slices", unit="slice", disable=None)


def _stop_at(archive: Archive, problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError(
            f"{archive.path}: {len(problems)} faulty files, nothing was written:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def _coco_json(
    pairs: Sequence[ArchiveSlice],
    labels: Mapping[SliceId, np.ndarray],
    mask_type: str,
    split: str,
    min_area: int,
) -> CocoDataset:
    dataset = CocoDataset("CNCB chest CT lesions", mask_type, split, min_area)
    for pair in pairs:
        # the archive holds one scan a patient
        scan = pair.id.patient
        dataset.add(pair.id, _image_name(pair), scan, labels[pair.id], lung_known=True)
    return dataset


def _image_name(pair: ArchiveSlice) -> str:
    return f"{pair.id.patient}/{pair.id.slice}{Path(pair.image).suffix}"


def _copy_images(archive: Archive, pairs: Sequence[ArchiveSlice], folder: Path) -> None:
    for pair in tqdm(pairs, desc="copying images", unit="slice", disable=None):
        target = folder / _image_name(pair)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(pair.image))
