#!/usr/bin/env python3
"""Convert a checkpoint of the published implementation for ct_lesion.

Example:
    python tools/convert_checkpoint.py segmentation_model.pth segmentation.safetensors
    python tools/train_net.py --config-file configs/segmentation/resnet18_t2.yaml --eval-only \\
        MODEL.WEIGHTS segmentation.safetensors DATASETS.TEST "('cncb_lesion_test',)"

Backbone, truncation, task (segmentation or classification), classes and N are recognised from the
weights. Writes OUTPUT, which also contains the shipped config of the model; use OUTPUT as
MODEL.WEIGHTS. No code in the published file is executed.
"""

import argparse
import hashlib
from pathlib import Path

from tabulate import tabulate

from ct_lesion.checkpoint import (
    CheckpointError,
    convert_released,
    describe,
    read_released,
    write_weights,
)
from ct_lesion.checkpoint.released import ConvertedCheckpoint, ReleasedCheckpoint
from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.data.datasets.lesion_masks import MASK_TYPES
from ct_lesion.files import locked_names

STAGES = {"res3": "truncated twice (T2)", "res4": "truncated once (T1)", "res5": "full"}


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="RELEASED", help="published .pth file")
    parser.add_argument(
        "output", type=Path, metavar="OUTPUT", help=".safetensors (recommended) or .pth"
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="path of the model's config, or name of a shipped config (default: chosen from the "
        "weights)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing OUTPUT")
    return parser.parse_args()


def class_names(converted: ConvertedCheckpoint) -> dict[str, list[str]]:
    num_classes = converted.cfg.MODEL.ROI_HEADS.NUM_CLASSES
    only_ggo = Path(converted.config_name).stem.endswith("_ggo")
    mask_type = {1: "ggo" if only_ggo else "merge", 2: "both"}.get(num_classes)
    names = {"regions": list(MASK_TYPES[mask_type].classes)} if mask_type else {}
    num_image_classes = converted.cfg.MODEL.CLASSIFIER.NUM_CLASSES
    if converted.is_classifier and num_image_classes == len(IMAGE_CLASSES):
        names["images"] = list(IMAGE_CLASSES)
    return names


def summary(released: ReleasedCheckpoint, converted: ConvertedCheckpoint) -> list[tuple]:
    model = converted.cfg.MODEL
    last_stage = model.RESNETS.OUT_FEATURES[-1]
    rows = [
        ("in the file", f"{released.model_name or 'no name'}, epoch {released.epoch or 'unknown'}"),
        ("kind", "classification" if converted.is_classifier else "segmentation"),
        ("backbone", f"ResNet{model.RESNETS.DEPTH}+FPN, {STAGES.get(last_stage, last_stage)}"),
        ("lesion classes", model.ROI_HEADS.NUM_CLASSES),
    ]
    if converted.is_classifier:
        rows += [("N (RoI batch)", model.ROI_BATCH.SIZE), ("width of S", model.CLASSIFIER.WIDTH)]
    rows += [
        ("parameters", f"{converted.num_parameters:,}"),
        ("config", converted.config_name),
    ]
    pairs = zip(converted.overrides[::2], converted.overrides[1::2], strict=True)
    return rows + [("  with", f"{key} {value}") for key, value in pairs]


def convert(args: argparse.Namespace) -> str:
    """Convert the checkpoint; returns the SHA-256 of the written file."""
    released = read_released(args.source)
    converted = convert_released(released, args.config_file)
    names = class_names(converted)
    print(tabulate(summary(released, converted), tablefmt="plain", disable_numparse=True))
    for name in converted.unused:
        print(f"warning: {name} is not part of this model and was dropped")
    if names.get("regions") == list(MASK_TYPES["merge"].classes) and not args.config_file:
        print("note: if the model was trained on GGO only, give --config-file its *_ggo.yaml")
    write_weights(args.output, converted.model, describe(converted.cfg, class_names=names))
    return hashlib.sha256(args.output.read_bytes()).hexdigest()


def main() -> None:
    args = parse_arguments()
    with locked_names(args.output):
        if args.output.exists() and not args.overwrite:
            raise CheckpointError(f"{args.output} exists. Choose another name, or add --overwrite.")
        digest = convert(args)
    print(f"written: {args.output}\nsha256:  {digest}")


if __name__ == "__main__":
    run_tool(main)
