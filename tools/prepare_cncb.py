#!/usr/bin/env python3
"""Turn CNCB's lesion archive into the COCO json files that ct_lesion trains on.

Example:
    python tools/prepare_cncb.py ct_lesion_seg.zip \\
        --split-file train=train_split.txt --split-file test=test_split.txt

Writes images/ and annotations/ below --output, which by default is where the datasets
cncb_lesion_*, cncb_ggo_consolidation_* and cncb_ggo_* are looked for. No patient is ever in two
splits.
"""

import argparse
from pathlib import Path

import numpy as np
from tabulate import tabulate

from ct_lesion.data.catalog import datasets_root
from ct_lesion.data.cncb_archive import Archive, ArchiveSlice
from ct_lesion.data.cncb_prepare import ANNOTATION_FOLDER, SplitSummary, find_slices, prepare_cncb
from ct_lesion.data.errors import DatasetError
from ct_lesion.data.lesion_masks import MASK_TYPES
from ct_lesion.data.patient_splits import (
    SPLITS,
    Split,
    split_by_fractions,
    split_by_lists,
    split_by_patients,
)
from ct_lesion.errors import run_tool

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="ARCHIVE", help="ct_lesion_seg.zip, or it unpacked")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="where to write (default: $DETECTRON2_DATASETS/cncb, i.e. datasets/cncb)",
    )
    parser.add_argument(
        "--mask-types",
        nargs="+",
        choices=list(MASK_TYPES),
        default=list(MASK_TYPES),
        help="merge: one class Lesion; both: GGO and Consolidation; ggo: GGO alone (default: all)",
    )
    parser.add_argument(
        "--min-area",
        type=int,
        default=100,
        metavar="PX",
        help="lesions of fewer pixels are background (default: 100, for 512 x 512 slices)",
    )
    how = parser.add_argument_group("split", "one of these ways; --split-fractions is the default")
    how.add_argument(
        "--split-file",
        action="append",
        metavar="SPLIT=LIST",
        help="a list of slices, <patient>_<slice>.jpg or paths, for train, val or test; repeat it",
    )
    how.add_argument(
        "--test-patients", nargs="+", metavar="PATIENT", help="hold these out, train on the others"
    )
    how.add_argument(
        "--split-fractions",
        nargs=3,
        type=float,
        default=(0.7, 0.1, 0.2),
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions of the patients (default: 0.7 0.1 0.2)",
    )
    how.add_argument("--seed", type=int, default=0, help="for --split-fractions (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier output")
    return parser.parse_args()


def make_split(args: argparse.Namespace, pairs: list[ArchiveSlice]) -> Split:
    slices = [pair.id for pair in pairs]
    if args.split_file:
        lists = dict(item.partition("=")[::2] for item in args.split_file)
        unknown = set(lists) - set(SPLITS)
        if unknown or not {"train", "test"} <= set(lists):
            raise DatasetError("--split-file: give train=LIST and test=LIST, and val=LIST if any.")
        return split_by_lists(slices, lists)
    if args.test_patients:
        return split_by_patients(slices, args.test_patients)
    return split_by_fractions(slices, args.split_fractions, args.seed)


def print_summary(dataset: str, splits: dict[str, SplitSummary]) -> None:
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


def main() -> None:
    args = parse_arguments()
    output = args.output or datasets_root() / "cncb"
    archive = Archive(args.source)
    pairs = find_slices(archive)
    split = make_split(args, pairs)
    summaries = prepare_cncb(
        archive, pairs, split, output, args.mask_types, args.min_area, args.overwrite
    )
    for dataset, splits in summaries.items():
        print_summary(dataset, splits)
    unused = len(pairs) - sum(len(slices) for slices in split.values())
    if unused:
        print(f"\n{unused} slices of the archive are in no list and were left out.")
    if not split.get("val"):
        print("\nNo list for val: val is the test split. Choose nothing by it that you then test.")
    print(f"\nWritten: {output / ANNOTATION_FOLDER} and the images beside it.")


if __name__ == "__main__":
    run_tool(main)
