#!/usr/bin/env python3
"""Find lesions in chest CT scans, and the class of each slice and scan.

Examples:
    python tools/predict.py scan.nii.gz
    python tools/predict.py dicom_folder 'more/*.nrrd' png_slices/ --output predictions \\
        --segmentation model_best.safetensors --classifier classifier.safetensors

An INPUT is a volume (NIfTI, NRRD, MHA), a folder or zip of DICOM series, a folder of pictures (PNG,
JPG, TIFF: one scan), pictures of one scan, a glob pattern, or a folder of any of these. The default
model ships with ct_lesion; its licence excludes commercial use. Writes to DIR: index.html, a page
of all scans, and a folder per scan with summary.json, lesions.csv, report.png, label volumes and
more (docs/predict.md). Rerun the same command to resume.

Exit code: 0 if all scans are done, 2 wrong arguments, 3 all scans are done but some lack slices,
130 interrupted, 10 + the number of failed scans. For research use only. Not for clinical use.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from ct_lesion.checkpoint import DEFAULT_MODEL
from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.engine.launch import launch
from ct_lesion.errors import UserError
from ct_lesion.lesions.lung_source import LungSource
from ct_lesion.prediction import console
from ct_lesion.prediction.models import load_classifier, load_segmenter
from ct_lesion.prediction.predictor import LesionPredictor
from ct_lesion.prediction.run import RunOptions, predict_scans
from ct_lesion.prediction.scan_class import DEFAULT_TOP_SLICES
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.window_options import add_window_options, hu_offset, window_from_options

ADVICE = "Rerun the same command to predict the unfinished scans."


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("inputs", nargs="*", metavar="INPUT", help="scans to predict, see below")
    text = "output folder (default: %(default)s)"
    add("--output", type=Path, default="predictions", metavar="DIR", help=text)
    add = parser.add_argument_group("models").add_argument
    text = "checkpoint of a segmenter, or ct_lesion://NAME (default: %(default)s)"
    add("--segmentation", default=DEFAULT_MODEL, metavar="WEIGHTS", help=text)
    add("--classifier", metavar="WEIGHTS", help="checkpoint of a classifier (default: no class)")
    add("--config-file", metavar="YAML", help="the segmenter's config (default: its checkpoint's)")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="config keys to change")
    add("--device", help="cpu or cuda (default: a GPU if there is one)")
    text = "slices per batch, for speed and memory only (default: the number of cores, at least 4)"
    add("--batch-size", type=int, metavar="N", help=text)
    text = "processes that share the scans, one per GPU or sharing the cores (default: %(default)s)"
    add("--processes", type=int, default=1, metavar="N", help=text)

    group = parser.add_argument_group("reading")
    add_window_options(group, "HU window (default: the models' own, or lung if that is unknown)")
    add = group.add_argument
    text = "read only this DICOM series (ct-lesion scans lists them); repeatable"
    add("--series-uid", action="append", metavar="UID", help=text)
    text = "16-bit or float pictures, or a shifted volume, hold HU + OFFSET (--hu alone: 0)"
    add("--hu", type=hu_offset, nargs="?", const=0.0, metavar="OFFSET", help=text)
    text = "auto: found in HU (default); or a lung mask, or a folder of masks named like the scans"
    add("--lungs", default="auto", metavar="auto|none|VOLUME", help=text)
    text = "mask of the five lobes in place of --lungs; adds the severity score of COVID-19"
    add("--lobes", type=Path, metavar="VOLUME", help=text)

    add = parser.add_argument_group("results").add_argument
    text = "keep detections above this score (default: TEST.PAPER_SCORE_THRESH, 0.75)"
    add("--score-thresh", type=float, metavar="SCORE", help=text)
    text = (
        "decide the scan's class from its K highest-scoring slices; 0: all (default: %(default)s)"
    )
    add("--top-slices", type=int, default=DEFAULT_TOP_SLICES, metavar="K", help=text)
    text = "keep detections outside the lungs (default: dropped where the lungs are known)"
    add("--keep-outside", action="store_true", help=text)
    add("--save-score-maps", action="store_true", help="write the mask logits of slices (npz)")
    text = "replace finished scans whose inputs, models or options differ"
    add("--overwrite", action="store_true", help=text)
    return parser.parse_args(arguments)


def predict(args: argparse.Namespace, arguments: list[str]) -> None:
    """Predict this process's share of the scans."""
    console.quiet_libraries()
    window = window_from_options(args)
    uids = tuple(args.series_uid) if args.series_uid else None
    reading = ReadOptions(series_uid=uids, hu_offset=args.hu, window=window)
    sources = console.find_scans_to_predict(args.inputs, reading, args.output)
    names = [source.name for source in sources]
    lungs = LungSource.of_options(args.lungs, args.lobes, args.keep_outside, names)
    config = {"config_file": args.config_file, "overrides": args.opts, "device": args.device}
    segmenter = load_segmenter(args.segmentation, score_thresh=args.score_thresh, **config)
    classifier = args.classifier and load_classifier(args.classifier, device=args.device)
    predictor = LesionPredictor(
        segmenter, classifier, batch_size=args.batch_size, top_slices=args.top_slices
    )
    console.announce(predictor, args.output)
    options = RunOptions(args.save_score_maps, lungs, args.overwrite, asdict(reading), arguments)
    result = predict_scans(sources, predictor, args.output, options)
    sys.exit(console.report_result(result, args.output))


def main() -> None:
    args = parse_arguments()
    console.check_words(args.inputs, args.opts)
    batch_size = 1 if args.batch_size is None else args.batch_size
    if min(batch_size, args.processes) < 1 or args.top_slices < 0:
        raise UserError("--batch-size and --processes must be 1 or more, --top-slices 0 or more.")
    on_gpu = args.device is None or args.device.startswith("cuda")
    launch(predict, args.processes, args=(args, sys.argv[1:]), on_gpu=on_gpu, advice=ADVICE)


if __name__ == "__main__":
    run_tool(main)
