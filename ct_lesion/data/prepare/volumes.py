"""Converts pairs of image and mask volumes to images and COCO json files for Detectron2.

Volumes are read and converted to slices as in prediction.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ct_lesion.errors import DatasetError
from ct_lesion.pictures import write_picture
from ct_lesion.scans.geometry import OrientedSlices, check_same_grid
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import open_scan
from ct_lesion.scans.volume_files import VolumeFile
from ct_lesion.scans.windows import DEFAULT_WINDOW, UNKNOWN, Window

from ..datasets.lesion_coco import (
    CocoDataset,
    SplitSummary,
    check_output,
    write_annotations,
    written_at_once,
)
from ..datasets.splits import SliceId, Split, check_patients_apart, splits_to_write
from .volume_pairs import LabelMap, VolumePair

DESCRIPTION = "chest CT lesions from volumes"
_MOST_NAMED = 5


@dataclass(frozen=True)
class CheckedPair:
    """A valid pair.

    Attributes:
        slices: number of slices.
        is_hu: whether the image holds HU; only then the window of its slices is known.
        remarks: quality findings of the scan, one line each.
    """

    pair: VolumePair
    slices: int
    is_hu: bool
    remarks: tuple[str, ...]

    def slice_id(self, index: int) -> SliceId:
        """Patient and name ``<scan>-<index>`` of a slice."""
        return SliceId(self.pair.patient, f"{self.pair.scan}-{index:04d}")

    @property
    def slice_ids(self) -> list[SliceId]:
        """All slices, from the feet up."""
        return [self.slice_id(index) for index in range(self.slices)]


def check_pairs(
    pairs: Sequence[VolumePair],
    problems: Sequence[str],
    labels: LabelMap,
    options: ReadOptions | None = None,
) -> list[CheckedPair]:
    """Open every pair and read every mask.

    Args:
        pairs: result of :func:`pair_folders` or :func:`read_pair_list`.
        problems: faults that these functions found, to be reported with the others.
        labels: meaning of the masks' values.
        options: options for reading the images.

    Raises:
        DatasetError: lists all faulty files: unreadable files, scans other than CT, masks whose
            size or geometry differs from the image's, mask values that ``labels`` does not map.
    """
    faults, checked = list(problems), []
    for pair in tqdm(pairs, desc="checking volumes", unit="scan", disable=None):
        try:
            checked.append(_check_pair(pair, labels, options or ReadOptions()))
        except DatasetError as error:
            faults.append(str(error).rstrip("."))
    if faults:
        raise DatasetError(
            f"{len(faults)} faults, nothing was written. Correct them:\n"
            + "\n".join(f"  {fault}" for fault in faults)
        )
    return checked


def prepare_volumes(
    checked: Sequence[CheckedPair],
    split: Split,
    labels: LabelMap,
    output: str | Path,
    *,
    mask_types: Sequence[str] | None = None,
    min_area: int = 100,
    overwrite: bool = False,
    options: ReadOptions | None = None,
) -> dict[str, dict[str, SplitSummary]]:
    """Write ``images/<patient>/<slice>.png`` and one COCO json per mask type and split.

    Lesion-free slices are kept. The output is written completely or not at all.

    Args:
        checked: result of :func:`check_pairs`.
        split: slices of ``train``, ``test`` and, optionally, ``val``.
        labels: meaning of the masks' values.
        output: folder to write to.
        mask_types: keys of ``MASK_TYPES``; ``None`` for all that the labels allow.
        min_area: lesions of fewer pixels are background; slices are shrunk first.
        overwrite: replace an earlier dataset in ``output``.
        options: the same as for :func:`check_pairs`.

    Returns:
        Summaries by dataset and split.

    Raises:
        DatasetError: a patient is in two splits, a mask type lacks its labels, or the output
            exists.
    """
    keys = labels.mask_types(mask_types)
    check_patients_apart(split)
    output = Path(output)
    check_output(output, overwrite)
    splits_of: dict[SliceId, list[str]] = defaultdict(list)
    written = splits_to_write(split)
    for name, slices in written.items():
        for slice_id in slices:
            splits_of[slice_id].append(name)
    recorded = _recorded_window(checked, options)
    datasets = {
        (key, name): CocoDataset(DESCRIPTION, key, name, min_area, recorded)
        for key in keys
        for name in written
    }
    with written_at_once(output) as (images, annotations):
        for item in tqdm(checked, desc="writing slices", unit="scan", disable=None):
            if not any(slice_id in splits_of for slice_id in item.slice_ids):
                continue
            scan = open_scan(item.pair.image, options)
            window = scan.window or DEFAULT_WINDOW
            masks = _mask_slices(item.pair.mask)
            for index, slice_id in enumerate(item.slice_ids):
                names = splits_of.get(slice_id, ())
                if not names:
                    continue
                file_name = f"{slice_id.patient}/{slice_id.slice}.png"
                write_picture(images / file_name, window.shrink(scan.grey(index)))
                mask = window.shrink(labels.apply(masks(index)), cv2.INTER_NEAREST)
                for key in keys:
                    for name in names:
                        datasets[key, name].add(
                            slice_id, file_name, item.pair.scan, mask, labels.has_lung
                        )
        return write_annotations(annotations, datasets.values())


def _check_pair(pair: VolumePair, labels: LabelMap, options: ReadOptions) -> CheckedPair:
    scan = open_scan(pair.image, options)
    mask = VolumeFile(pair.mask)
    check_same_grid(pair.mask, mask.geometry, scan.geometry, pair.image)
    unknown: set[float] = set()
    for slab in mask.slabs():
        unknown.update(labels.unknown(slab))
    if unknown:
        # all digits: 1.000001 is not the label 1
        some = ", ".join(
            np.format_float_positional(np.float32(value), trim="-")
            for value in sorted(unknown)[:_MOST_NAMED]
        )
        more = ", ..." if len(unknown) > _MOST_NAMED else ""
        raise DatasetError(f"{pair.mask} has values that are not in --labels: {some}{more}")
    remarks = [f"{pair.scan}: {finding.message}" for finding in scan.qc]
    if not scan.is_hu:
        remarks.append(f"{pair.scan} holds no HU, so the window of all slices counts as unknown")
    return CheckedPair(pair, len(scan), scan.is_hu, tuple(remarks))


def _recorded_window(checked: Sequence[CheckedPair], options: ReadOptions | None) -> Window:
    if not all(item.is_hu for item in checked):
        return UNKNOWN
    return (options and options.window) or DEFAULT_WINDOW


def _mask_slices(path: Path) -> OrientedSlices:
    volume = VolumeFile(path)
    return OrientedSlices(volume.geometry, volume.slice)
