#!/usr/bin/env python3
"""Make a report of runs with the paper's tables and figures, and statistics.

Examples:
    python tools/report.py output/segmentation/resnet18_t1 output/classification/resnet18_t1 \\
        --output output/report
    python tools/report.py RUN_A RUN_B --output report --metadata patients.csv --subgroup sex age

Each RUN is an OUTPUT_DIR of tools/train_net.py with its evaluations. Segmentation and
classification runs can be combined; runs of the same task are compared on the same slices. Writes
report.html (a single file that needs no network), report.json with every number, tables/ and
figures/ to DIR. A temperature is fitted if the validation set was evaluated too:
    python tools/train_net.py --config-file RUN/config.yaml --eval-only \\
        MODEL.WEIGHTS RUN/model_best.safetensors DATASETS.TEST "('covidx_ct_test','covidx_ct_val')"
For research use only. Not for clinical use.
"""

import argparse
from pathlib import Path

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError, printable
from ct_lesion.files import locked_names
from ct_lesion.report.build import build_report
from ct_lesion.report.options import ReportOptions
from ct_lesion.report.page import check_output, write_report
from ct_lesion.report.runs.runs import load_runs


def parse_arguments() -> argparse.Namespace:
    defaults = ReportOptions()
    parser = tool_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="output folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier report in DIR")
    text = 'test set to report on (default: the one whose name ends in "_test")'
    parser.add_argument("--dataset", metavar="DATASET", help=text)
    text = 'dataset to fit the temperature on (default: the one whose name ends in "_val")'
    parser.add_argument("--validation", metavar="DATASET", help=text)
    parser.add_argument(
        "--score-thresh",
        type=float,
        metavar="SCORE",
        default=defaults.score_threshold,
        help="detections above this score count for Dice and are drawn (default: %(default)s)",
    )
    parser.add_argument(
        "--per-class",
        type=int,
        default=defaults.per_class,
        metavar="N",
        help="slices per class in the sample of Tables 4 and 5 (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=defaults.resamples,
        metavar="N",
        help="bootstrap resamples of the patients (default: %(default)s)",
    )
    text = "seed of bootstrap and samples (default: %(default)s)"
    parser.add_argument("--seed", type=int, default=defaults.seed, help=text)
    text = "table of subgroups with a column file, scan or patient"
    parser.add_argument("--metadata", type=Path, metavar="CSV", help=text)
    parser.add_argument(
        "--subgroup",
        nargs="+",
        default=(),
        metavar="COLUMN",
        help="columns of --metadata to report by",
    )
    parser.add_argument(
        "--no-models",
        action="store_true",
        help="load no checkpoints, and leave out Figure 2 and the importance of regions",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if bool(args.metadata) != bool(args.subgroup):
        raise UserError("--metadata and --subgroup need each other. Give a file and its columns.")
    if args.resamples < 1 or args.per_class < 1 or args.seed < 0:
        raise UserError("--resamples and --per-class must be 1 or more, --seed 0 or more.")
    if not 0 <= args.score_thresh < 1:
        raise UserError(f"--score-thresh {args.score_thresh}: expected at least 0 and below 1.")
    options = ReportOptions(
        dataset=args.dataset,
        validation=args.validation,
        score_threshold=args.score_thresh,
        per_class=args.per_class,
        resamples=args.resamples,
        seed=args.seed,
        metadata=args.metadata,
        subgroups=tuple(args.subgroup),
        draw_models=not args.no_models,
    )
    with locked_names(args.output):
        check_output(args.output, args.overwrite)
        report = build_report(load_runs(args.runs), options)
        paths = write_report(
            args.output, report.title, report.sections, report.facts, overwrite=args.overwrite
        )
    print("Written:", *map(printable, paths), sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
