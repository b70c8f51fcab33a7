"""Command line options and printed summary shared by the tools that prepare lesion datasets."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ct_lesion.errors import DatasetError
from ct_lesion.json_files import read_json
from ct_lesion.scans.window_options import add_window_options, window_from_options
from ct_lesion.scans.windows import UNKNOWN, WINDOW_FILE, Window
from ct_lesion.zip_files import open_zip

from ..datasets.catalog import datasets_root
from ..datasets.lesion_coco import ANNOTATION_FOLDER, SplitSummary
from ..datasets.lesion_masks import MASK_TYPES
from ..datasets.splits import (
    SPLITS,
    SliceId,
    Split,
    draw_val,
    split_by_fractions,
    split_by_lists,
    split_by_patients,
)

_WINDOW_MEMBER = re.compile(rf"([^/.\\][^/\\]*/)?{re.escape(WINDOW_FILE)}")  # in a zip
_LARGEST_WINDOW_FILE = 2**16  # bytes

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``, ``--mask-types``, ``--min-area``, the split options and ``--overwrite``."""
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=datasets_root() / "cncb",
        help="output folder (default: $DETECTRON2_DATASETS/cncb or datasets/cncb)",
    )
    parser.add_argument(
        "--mask-types",
        nargs="+",
        choices=list(MASK_TYPES),
        help="merge: one class Lesion; both: GGO and Consolidation; ggo: GGO only (default: all "
        "that the labels allow)",
    )
    parser.add_argument(
        "--min-area",
        type=int,
        default=100,
        metavar="PX",
        help="lesions of fewer pixels are background (default: 100, for 512 x 512 slices)",
    )
    how = parser.add_argument_group("split", "give one of these; --split-fractions is the default")
    how.add_argument(
        "--split-file",
        action="append",
        metavar="SPLIT=LIST",
        help="list of the slices of train, val or test, <patient>_<slice>.jpg or paths; repeatable",
    )
    how.add_argument(
        "--test-patients",
        nargs="+",
        metavar="PATIENT",
        help="test on these patients, train on all others",
    )
    how.add_argument(
        "--split-fractions",
        nargs=3,
        type=float,
        default=(0.7, 0.1, 0.2),
        metavar=("TRAIN", "VAL", "TEST"),
        help="split the patients at random into these fractions (default: 0.7 0.1 0.2)",
    )
    how.add_argument("--seed", type=int, default=0, help="seed of the random draws (default: 0)")
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.1,
        metavar="FRACTION",
        help="with --test-patients, or --split-file without val: share of the training patients "
        "to hold out as val, on which training selects the best weights; 0: no val, training keeps "
        "its last weights (default: 0.1)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier dataset")


def add_slice_window_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say how existing 8-bit slices were made from HU."""
    about = (
        "how the slices were made from HU; prediction with the trained weights repeats it\n"
        f"(default: from {WINDOW_FILE} in the folder, else unknown)"
    )
    add_window_options(parser.add_argument_group("window", about), "HU window of the slices")


def window_of_slices(args: argparse.Namespace, folder: Path) -> Window:
    """How existing 8-bit slices were made from HU, by the options or the file ``window.json``.

    Args:
        args: with the options of :func:`add_slice_window_options`.
        folder: folder or zip of the slices. In a zip, the file may also be in a top-level folder.

    Raises:
        DatasetError: the options or the file are invalid, or they differ.
    """
    given, path = window_from_options(args), _window_file(folder)
    if path is None:
        return given or UNKNOWN
    window = Window.from_json(read_json(path, dict, DatasetError), path)
    if given not in (None, window):
        raise DatasetError(
            f"{path}: the slices were made with {window.label}, but the options say {given.label}. "
            "Leave the options out, or correct the file."
        )
    return window


def _window_file(folder: Path) -> Path | None:
    """The path of a folder's or zip's ``window.json``; None if there is none."""
    if not folder.is_file():
        path = folder / WINDOW_FILE
        return path if path.is_file() else None
    with open_zip(folder) as archive:
        found = [info for info in archive.infolist() if _WINDOW_MEMBER.fullmatch(info.filename)]
    if len(found) > 1 or any(info.file_size > _LARGEST_WINDOW_FILE for info in found):
        raise DatasetError(
            f"{folder}: {found[0].filename!r:.80} is one of several {WINDOW_FILE}, or too large. "
            "Keep one beside image/ and mask/."
        )
    return folder / found[0].filename if found else None


def split_from_options(args: argparse.Namespace, slices: Sequence[SliceId]) -> Split:
    """Split slices as the options of :func:`add_dataset_options` say.

    Raises:
        DatasetError: the options are invalid or do not fit the slices.
    """
    if args.split_file:
        lists = dict(item.partition("=")[::2] for item in args.split_file)
        unknown = set(lists) - set(SPLITS)
        if unknown or not {"train", "test"} <= set(lists):
            raise DatasetError(
                "--split-file: give train=LIST and test=LIST, and optionally val=LIST."
            )
        return draw_val(split_by_lists(slices, lists), args.val_fraction, args.seed)
    if args.test_patients:
        split = split_by_patients(slices, args.test_patients)
        return draw_val(split, args.val_fraction, args.seed)
    return split_by_fractions(slices, args.split_fractions, args.seed)


def print_result(
    summaries: dict[str, dict[str, SplitSummary]], split: Split, slices: int, output: Path
) -> None:
    """Print the summaries, the number of unused slices and the output folder.

    Args:
        summaries: keyed by dataset and split.
        split: the written split.
        slices: number of slices found.
        output: folder of the dataset.
    """
    for dataset, splits in summaries.items():
        _print_summary(dataset, splits)
    unused = slices - sum(len(chosen) for chosen in split.values())
    if unused:
        print(f"\n{unused} slices are not listed and were left out.")
    if not split.get("val"):
        print("\nThere is no val split: training will keep the last weights, not the best.")
    print(f"\nWritten: {output / ANNOTATION_FOLDER} and the images beside it.")


def _print_summary(dataset: str, splits: dict[str, SplitSummary]) -> None:
    rows = []
    for name, summary in splits.items():
        for class_name, areas in summary.areas.items():
            quantiles = np.quantile(areas, QUANTILES).astype(int).tolist() if areas else ["-"] * 5
            counts = [summary.patients, summary.slices, summary.lesion_free]
            rows.append([name, *counts, class_name, len(areas), *quantiles])
    area_headers = [f"area {q:.0%}" for q in QUANTILES]
    headers = ["split", "patients", "slices", "lesion-free", "class", "lesions", *area_headers]
    print(f"\n{dataset} (areas in pixels)")
    print(tabulate(rows, headers=headers))
