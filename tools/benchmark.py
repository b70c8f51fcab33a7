#!/usr/bin/env python3
"""Measure speed and memory of the plain and the fast paths on this machine.

Examples:
    python tools/benchmark.py
    python tools/benchmark.py --list
    python tools/benchmark.py --rows classify-resnet18_t1 --rounds 9 --output output/benchmark
    python tools/benchmark.py --weights output/segmentation/resnet18_t1/model_best.safetensors

Writes benchmark.json and benchmark.md to DIR. Run nothing else on the machine meanwhile.
"""

import argparse
import sys
from pathlib import Path

import ct_lesion  # noqa: F401  (registers the models)
from ct_lesion.benchmark.cases import CASES, choose_cases
from ct_lesion.benchmark.measure import Settings
from ct_lesion.benchmark.results import write_results
from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError
from ct_lesion.files import locked_folder


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    default = Settings()
    parser.add_argument(
        "--rows", nargs="+", default=[], metavar="ROW", help="rows to measure (default: all)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=default.rounds,
        metavar="N",
        help="measurements of each path (default: %(default)s)",
    )
    parser.add_argument(
        "--slices",
        type=int,
        default=default.slices,
        metavar="N",
        help="slices per round (default: %(default)s)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=default.size,
        metavar="PIXELS",
        help="height and width of the slices in pixels (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="weights of a trained segmenter, ResNet18_T1 (default: random weights with scores "
        "shifted so that a few detections per slice pass)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/benchmark"),
        metavar="DIR",
        help="output folder (default: %(default)s)",
    )
    parser.add_argument(
        "--vs-torchvision",
        action="store_true",
        help="also measure torchvision's Mask R-CNN with the same backbone",
    )
    parser.add_argument("--list", action="store_true", help="list the rows and stop")
    args = parser.parse_args()
    for name, smallest in (("rounds", 1), ("slices", 1), ("size", 64)):
        if getattr(args, name) < smallest:
            raise UserError(f"--{name} is {getattr(args, name)}, expected {smallest} or more.")
    if args.weights and not args.weights.is_file():
        raise UserError(
            f"--weights {args.weights} does not exist. Check the path, or leave it out for random "
            "weights."
        )
    return args


def main() -> None:
    args = parse_arguments()
    if args.list:
        for case in CASES:
            print(f"{case.name:32} {case.work} ({case.target or 'no target'})")
        return
    cases = choose_cases(args.rows, args.vs_torchvision)
    settings = Settings(args.rounds, args.size, args.slices, args.weights)
    results = []
    with locked_folder(args.output):
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case.name}: {case.work} ...", end="", flush=True)
            result = case.run(settings)
            results.append(result)
            print(f" not measured: {result.skipped}" if result.skipped else f" {result.shown}")
            # after each row, so that an interrupted run keeps its results
            paths = write_results(args.output, results, settings, ["python", *sys.argv])
    print("Written:", *paths, sep="\n  ")


if __name__ == "__main__":
    run_tool(main)
