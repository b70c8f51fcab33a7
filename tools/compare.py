#!/usr/bin/env python3
"""Compare the lesion masks of several programs with one ground truth.

Example:
    python tools/compare.py --truth masks ct_lesion=predictions nnU-Net=nnunet_output \\
        --values truth=2,3 --output comparison

MASKS is a folder of volumes (NIfTI, NRRD, MetaImage) named by patient, the output folder of
tools/predict.py, a folder with a subfolder of PNG masks for each patient, or, for one patient, a
volume or a folder of PNG masks. Masks are compared in space and must lie on the truth's grid, in
any order of axes. Writes report.html, report.json, tables/ and figures/ to DIR: Dice, lesions
found, false lesions and volume errors, with confidence intervals over patients and paired
differences (docs/compare.md).
For research use only. Not for clinical use.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError, printable
from ct_lesion.evaluation.patient_bootstrap import RESAMPLES
from ct_lesion.files import locked_names
from ct_lesion.pages.blocks import Caution
from ct_lesion.pages.environment import DISCLAIMER
from ct_lesion.pages.tables import Table
from ct_lesion.report.masks.comparison import compare_masks
from ct_lesion.report.masks.mask_sets import MaskSet, common_patients, find_masks
from ct_lesion.report.masks.sections import comparison_report
from ct_lesion.report.page import check_output, write_report

TRUTH = "truth"


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("masks", nargs="+", metavar="NAME=MASKS", help="a program's name and masks, see below")
    add("--truth", type=Path, required=True, metavar="MASKS", help="ground-truth masks")
    text = "output folder (default: %(default)s)"
    add("--output", type=Path, default="comparison", metavar="DIR", help=text)
    text = "mask values of NAME, or of truth, that mean lesion (default: all but 0); repeatable"
    add("--values", action="append", default=[], metavar="NAME=VALUE,...", help=text)
    text = "count only lesions of at least this many pixels (default: all)"
    add("--min-area", type=int, default=0, metavar="PX", help=text)
    text = "leave out patients who lack a mask in some set, instead of stopping"
    add("--common", action="store_true", help=text)
    text = "bootstrap resamples of the patients (default: %(default)s)"
    add("--resamples", type=int, default=RESAMPLES, metavar="N", help=text)
    add("--seed", type=int, default=0, help="seed of the bootstrap (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace an earlier comparison")
    return parser.parse_args()


def mask_sets(args: argparse.Namespace) -> list[MaskSet]:
    """The truth and the programs' masks."""
    paths = {TRUTH: args.truth}
    for item in args.masks:
        name, equals, path = item.partition("=")
        if not equals or not name or not path:
            raise UserError(f"{item}: give NAME=MASKS, e.g. nnU-Net=nnunet_output.")
        if name in paths:
            raise UserError(f"{item}: {name} is already used. Give each program its own name.")
        if Path(path).resolve() == args.truth.resolve():
            raise UserError(f"{item} is the truth itself. Give the masks of a program.")
        paths[name] = Path(path)
    values: dict[str, frozenset[int]] = {}
    for item in args.values:
        name, _, listed = item.partition("=")
        if name not in paths or name in values:
            problem = "is given twice" if name in values else "is not a set of masks"
            raise UserError(
                f"--values {item}: {name} {problem}. Give each of {', '.join(paths)} at most once."
            )
        numbers = listed.split(",")
        if not all(n.isdecimal() and n.isascii() and 0 < int(n) < 2**16 for n in numbers):
            raise UserError(f"--values {item}: give NAME=VALUE,... with whole numbers above 0.")
        values[name] = frozenset(map(int, numbers))
    return [find_masks(name, path, values.get(name)) for name, path in paths.items()]


def main() -> None:
    args = parse_arguments()
    if args.resamples < 1 or args.seed < 0 or args.min_area < 0:
        raise UserError("--resamples must be 1 or more, --seed and --min-area 0 or more.")
    with locked_names(args.output):
        check_output(args.output, args.overwrite)
        (truth, *programs), left_out = common_patients(mask_sets(args), args.common)
        comparison = compare_masks(truth, programs, args.min_area)
        report = comparison_report(comparison, left_out, args.resamples, args.seed)
        paths = write_report(
            args.output, report.title, report.sections, report.facts, overwrite=args.overwrite
        )
    for section in report.sections[:-1]:  # the patients are only on the page
        for table in section.of(Table):
            print(f"\n{table.title}")
            print(tabulate(table.shown(), headers=table.shown_columns(), disable_numparse=True))
        for caution in section.of(Caution):
            print(printable(f"\nCaution: {caution.text}"))
    print(f"\n{DISCLAIMER}\nWritten:", *map(printable, paths), sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
