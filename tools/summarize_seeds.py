#!/usr/bin/env python3
"""Summarise runs that differ only in their seed: mean and spread of the metrics.

Example:
    for seed in 1 2 3; do
        python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml \\
            SEED $seed OUTPUT_DIR output/seed_$seed
    done
    python tools/summarize_seeds.py output/seed_1 output/seed_2 output/seed_3 --output output/seeds

Each RUN is an OUTPUT_DIR of tools/train_net.py with its evaluations. Configs may differ in SEED and
OUTPUT_DIR, and in the keys given to --may-differ, e.g. MODEL.WEIGHTS if each classifier starts from
the segmenter of its own seed. Prints the table; with --output, also writes seeds.json, seeds.csv
and seeds.md to DIR.
"""

import argparse
from pathlib import Path

from tabulate import tabulate

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.files import locked_folder
from ct_lesion.report.runs.runs import load_runs
from ct_lesion.report.runs.seed_summary import summarize, write_summary


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    text = "folder of a run; give two or more"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=text)
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for seeds.json, seeds.csv and seeds.md"
    )
    parser.add_argument(
        "--may-differ", nargs="+", default=[], metavar="KEY", help="config keys that may differ"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    runs = load_runs(args.runs)
    table = summarize(runs, args.may_differ)
    print(f"{table.title}\n")
    print(tabulate(table.shown(), headers=table.shown_columns(), disable_numparse=True))
    print("", *table.notes, sep="\n")
    if args.output:
        with locked_folder(args.output):
            paths = write_summary(table, runs, args.output)
        print("Written:", *paths, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
