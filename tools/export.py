#!/usr/bin/env python3
"""Write a trained model as an ONNX file, which runs without PyTorch.

Examples:
    python tools/export.py ct_lesion://public_ct_resnet18_t1 segmenter.onnx
    python tools/export.py output/classification/model_best.safetensors classifier.onnx

WEIGHTS is a checkpoint of a segmenter or a classifier, or ct_lesion://NAME. OUTPUT takes a grey
slice of any size; its metadata say how to resize slices, which window they need, and the names of
the classes. Before it is written, its outputs in ONNX Runtime are compared with the network's.
docs/onnx.md has a script that predicts a picture with it. For research use only. Not for clinical
use.
"""

import argparse
import json
from pathlib import Path

from tabulate import tabulate

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.errors import UserError
from ct_lesion.export.onnx_file import Exported, export_onnx, require_packages
from ct_lesion.prediction.console import quiet_libraries
from ct_lesion.prediction.models import load_model


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("weights", metavar="WEIGHTS", help="checkpoint, or ct_lesion://NAME")
    add("output", type=Path, metavar="OUTPUT", help=".onnx file to write")
    text = "score above which a segmenter outputs regions (default: as in prediction)"
    add("--score-thresh", type=float, metavar="SCORE", help=text)
    add("--overwrite", action="store_true", help="replace an existing OUTPUT")
    return parser.parse_args()


def summary(exported: Exported) -> list[tuple[str, object]]:
    about, check = exported.metadata, exported.check
    sizes = ", ".join(f"{height} x {width}" for height, width in check.sizes)
    resize = json.loads(about["resize"])
    rows = [
        ("task", about["task"]),
        ("classes", ", ".join(json.loads(about["class_names"]))),
        ("config", about["config_name"] or "differs from the shipped ones (see the metadata)"),
        ("window", json.loads(about["window"])["text"]),
        ("input", f"grey slice, uint8, shorter side {resize['shorter_side']} px"),
    ]
    if about["task"] == "segmentation":
        rows.append(("score threshold", about["score_threshold"]))
        differences = f"boxes {check.boxes:.1e} px, mask probabilities {check.values:.1e}"
    else:
        batch = json.loads(about["roi_batch"])
        rows.append(("RoI batch", f"{batch['size']} rows, {batch['padding_note']}"))
        differences = f"logits {check.values:.1e}"
    return [
        *rows,
        ("checked on", f"slices of {sizes} px; {check.regions} regions"),
        ("largest differences", differences),
        ("sha256 of the weights", about["weights_sha256"]),
    ]


def main() -> None:
    args = parse_arguments()
    quiet_libraries()
    require_packages()
    if args.output.exists() and not args.overwrite:
        raise UserError(f"{args.output} exists. Choose another name, or add --overwrite.")
    model = load_model(args.weights, device="cpu", score_thresh=args.score_thresh)
    print(f"Exporting {model.path} and checking the file ...", flush=True)
    exported = export_onnx(model, args.output)
    print(tabulate(summary(exported), tablefmt="plain", disable_numparse=True))
    if not exported.check.regions:
        print("note: no region of the test slices passed the threshold; nothing was compared")
    print(f"written: {args.output} ({args.output.stat().st_size / 1e6:.1f} MB)")
    print(exported.metadata["notice"])


if __name__ == "__main__":
    run_tool(main)
