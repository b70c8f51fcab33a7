#!/usr/bin/env python3
"""Turn slices of three classes into classification datasets (json).

The images are named NCP_96_1328_0032.png, or lie in CNCB's tree as NCP/96/1328/0032.png, at any
depth below --image-root. They are not copied. The three COVIDx-CT lists assign slices to splits;
without lists the patients are split at random.

Examples:
    python tools/prepare_covidx_ct.py --image-root COVIDx-CT/images \\
        --train-list train_COVIDx_CT-1.txt --val-list val_COVIDx_CT-1.txt \\
        --test-list test_COVIDx_CT-1.txt --per-class 1000 --seed 0

    python tools/prepare_covidx_ct.py --image-root CNCB --split-fractions 0.6 0.2 0.2

Writes annotations/{train,train_full,val,test}.json to --output, by default the folder from which
the registered datasets covidx_ct_train (the sample), covidx_ct_train_full, covidx_ct_val and
covidx_ct_test are read. If lists or images have errors, no file is written and the exit code is 2.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.datasets.catalog import datasets_root
from ct_lesion.data.prepare.covidx_ct import CovidxSource, prepare_covidx_ct
from ct_lesion.data.prepare.options import add_slice_window_options, window_of_slices
from ct_lesion.errors import DatasetError


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    default_output = "$DETECTRON2_DATASETS/covidx_ct or datasets/covidx_ct"
    add("--image-root", type=Path, required=True, metavar="DIR", help="folder of the slices")
    add("--output", type=Path, metavar="DIR", help=f"output folder (default: {default_output})")
    add("--allow-missing", action="store_true", help="skip listed slices that do not exist")
    add("--decode", action="store_true", help="decode each image to find damaged ones (minutes)")

    text = "give the three lists, or split the patients by fractions"
    add = parser.add_argument_group("splits", text).add_argument
    for name in ("train", "val", "test"):
        text = f"COVIDx-CT list of {name} slices, with lines <file> <class> <x0> <y0> <x1> <y1>"
        add(f"--{name}-list", type=Path, metavar="FILE", help=text)
    add(
        "--split-fractions",
        nargs=3,
        type=float,
        metavar=("TRAIN", "VAL", "TEST"),
        help="fractions of the patients of each class (default: 0.6 0.2 0.2)",
    )
    add(
        "--patient-ids-per-class",
        action="store_true",
        help="treat NCP/96 and CP/96 as two patients; in CNCB's data they are one",
    )
    add(
        "--allow-patient-overlap",
        action="store_true",
        help="accept lists that share patients, which makes test results too good",
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
        help="use the slices in FILE, named 0_1728_1013_0023.png (class first) or "
        "Normal_1728_1013_0023.png",
    )
    sample.add_argument("--seed", type=int, default=0, help="seed of sample and split (default: 0)")
    add_slice_window_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    given = {"train": args.train_list, "val": args.val_list, "test": args.test_list}
    lists = {name: path for name, path in given.items() if path}
    if lists and args.split_fractions:
        raise DatasetError("Give lists or --split-fractions, not both.")
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
        window=window_of_slices(args, args.image_root),
    )
    prepared = prepare_covidx_ct(source, args.output or datasets_root() / "covidx_ct")
    for note in prepared.notes:
        print(f"Note: {note}\n")
    print(tabulate(prepared.counts, headers=["dataset", "class", "slices", "patients", "scans"]))
    print("\nWritten:", *prepared.files, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
