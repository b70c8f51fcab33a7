#!/usr/bin/env python3
"""Count parameters, activations and FLOPs of a model by part.

Examples:
    python tools/analyze_model.py --config-file configs/segmentation/resnet18_t1.yaml
    python tools/analyze_model.py --config-file configs/classification/resnet18_t1.yaml \\
        --size 256 --json resnet18_t1.json
    python tools/analyze_model.py --config-file configs/segmentation/resnet18_t1.yaml \\
        MODEL.FPN.OUT_CHANNELS 128

Prints a table, and writes all counts to the file of --json. Works with any yaml config of
Detectron2, runs on the CPU and needs neither weights nor data. fvcore counts: a multiply-add is one
FLOP, and activations are the outputs of convolutions and matrix products. The box head is counted
for all proposals, the mask head for all detections that the config allows
(MODEL.RPN.POST_NMS_TOPK_TEST, TEST.DETECTIONS_PER_IMAGE); most slices have fewer.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tabulate import tabulate

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.engine.setup import read_config
from ct_lesion.files import write_together
from ct_lesion.modeling.analysis import NetworkSize, measure_network


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("--config-file", required=True, metavar="FILE", help="config of the model")
    parser.add_argument(
        "--size",
        type=int,
        metavar="PIXELS",
        help="side of the square input (default: INPUT.MIN_SIZE_TEST)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="JSON file for all counts")
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to change"
    )
    return parser.parse_args()


def describe(size: NetworkSize) -> str:
    """The text to print: the input, the table, and the operations that are not counted."""
    run_on = [
        f"{number} {name}"
        for name, number in (("proposals", size.proposals), ("regions", size.regions))
        if number is not None
    ]
    total = size.total
    rows = [
        (
            part.part,
            f"{part.parameters:,}",
            f"{part.activations / 1e6:.3f}",
            f"{part.flops / 1e9:.4f}",
            f"{part.flops / total.flops:.1%}" if total.flops else "-",
        )
        for part in (*size.parts, total)
    ]
    headers = ["part", "parameters", "activations (M)", "FLOPs (G)", "share of FLOPs"]
    table = tabulate(
        rows, headers, disable_numparse=True, colalign=("left", *["right"] * (len(headers) - 1))
    )
    missing = ", ".join(f"{name} x {n}" for name, n in size.not_counted.items()) or "none"
    return (
        f"Input: {size.side} x {size.side}{''.join(f', {text}' for text in run_on)}\n\n{table}\n\n"
        f"Operations that fvcore could not count: {missing}.\nActivation functions, pooling, "
        "NMS and other element-wise operations are left out, as in Detectron2."
    )


def main() -> None:
    args = parse_arguments()
    cfg = read_config(args.config_file, args.opts)
    size = measure_network(cfg, args.size)
    print(describe(size))
    if args.json:
        content = {"config": args.config_file, "opts": args.opts, **asdict(size)}
        content["total"] = asdict(size.total)
        write_together({args.json: json.dumps(content, indent=2) + "\n"})
        print(f"Written: {args.json}")


if __name__ == "__main__":
    run_tool(main)
