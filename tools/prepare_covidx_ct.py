#!/usr/bin/env python3
"""Turn chest CT slices of three classes into the datasets that ct_lesion's classifier trains on.

The slices may lie as NCP_96_1328_0032.png or in CNCB's tree as NCP/96/1328/0032.png, at any depth
below --image-root; they are not copied. With the three COVIDx-CT lists these say which slice is
in which split; without lists the patients below --image-root are divided at random.

Examples:
    python tools/prepare_covidx_ct.py --image-root COVIDx-CT/images \\
        --train-list train_COVIDx_CT-1.txt --val-list val_COVIDx_CT-1.txt \\
        --test-list test_COVIDx_CT-1.txt --per-class 1000 --seed 0

    python tools/prepare_covidx_ct.py --image-root CNCB --split-fractions 0.6 0.2 0.2

Writes annotations/{train,train_full,val,test}.json below --output, where the datasets
covidx_ct_train (the sample), covidx_ct_train_full, covidx_ct_val and covidx_ct_test are looked
for. Exit code 2 and no file, if anything is wrong with lists or images.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from ct_lesion.data.datasets.catalog import datasets_root
from ct_lesion.data.prepare.covidx_ct import CovidxSource, prepare_covidx_ct
from ct_lesion.errors import run_tool


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    default_output = "$DETECTRON2_DATASETS/covidx_ct, i.e. datasets/covidx_ct"
    add("--image-root", type=Path, required=True, metavar="DIR", help="folder with the slices")
    add("--output", type=Path, metavar="DIR", help=f"where to write (default: {default_output})")
    add("--allow-missing", action="store_true", help="leave out listed slices that are not there")
    add("--decode", action="store_true", help="decode every image to find damaged ones (minutes)")

    split = parser.add_argument_group("splits", "by the three lists, or else by fractions")
    for name in ("train", "val", "test"):
        line = "lines <file> <class> <x0> <y0> <x1> <y1>, as COVIDx-CT's"
        split.add_argument(f"--{name}-list", type=Path, metavar="FILE", help=line)
    split.add_argument(
        "--split-fractions",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions of the patients of each class (default: 0.6 0.2 0.2)",
    )
    split.add_argument(
        "--patient-ids-per-class",
        action="store_true",
        help="NCP/96 and CP/96 are two people; in CNCB's data a number is one person",
    )
    split.add_argument(
        "--allow-patient-overlap",
        action="store_true",
        help="accept lists with a patient in two splits; test results are then too good",
    )

    sample = parser.add_argument_group("training sample (covidx_ct_train)")
    how = sample.add_mutually_exclusive_group()
    how.add_argument(
        "--per-class",
        type=int,
        default=1000,
        metavar="N",
        help="draw N training slices of each class (default: 1000)",
    )
    how.add_argument(
        "--sample-list",
        type=Path,
        metavar="FILE",
        help="take these: names as 0_1728_1013_0023.png (class) or Normal_1728_1013_0023.png",
    )
    sample.add_argument("--seed", type=int, default=0, help="of sample and split (default: 0)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    parser = build_parser()
    args = parser.parse_args(arguments)
    given = {"train": args.train_list, "val": args.val_list, "test": args.test_list}
    lists = {name: path for name, path in given.items() if path}
    if lists and args.split_fractions:
        parser.error("--split-fractions: the lists say what is in which split already.")
    source = CovidxSource(
        image_root=args.image_root,
        lists=lists,
        fractions=args.split_fractions or (0.6, 0.2, 0.2),
        sample_list=args.sample_list,
        per_class=args.per_class,
        seed=args.seed,
        ids_per_class=args.patient_ids_per_class,
        allow_missing=args.allow_missing,
        allow_overlap=args.allow_patient_overlap,
        decode=args.decode,
    )
    prepared = prepare_covidx_ct(source, args.output or datasets_root() / "covidx_ct")
    for note in prepared.notes:
        print(f"Note: {note}\n")
    print(tabulate(prepared.counts, headers=["dataset", "class", "slices", "patients", "scans"]))
    print("\nWritten:", *prepared.files, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
