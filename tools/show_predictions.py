#!/usr/bin/env python3
"""Draw ground truth and predictions of an evaluated segmenter side by side.

Example:
    python tools/show_predictions.py output/segmentation/resnet18_t1/inference/cncb_lesion_test

Reads the evaluation's files in FOLDER and loads no weights. Writes predictions.png to FOLDER, or
the file given by --output. For research use only. Not for clinical use.
"""

import argparse
import contextlib
import io
from pathlib import Path

import ct_lesion  # noqa: F401  (registers the datasets; Detectron2 first would print warnings)

# isort: split
import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from pycocotools.coco import COCO

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.datasets.coco_checks import check_detections
from ct_lesion.errors import DatasetError
from ct_lesion.evaluation.lesion_evaluator import RESULTS_FILE
from ct_lesion.files import atomic_write, locked_names
from ct_lesion.json_files import read_json
from ct_lesion.report.figures.segmentation_figure import (
    choose_slices,
    describe_slices,
    segmentation_figure,
)
from ct_lesion.report.sections.worst_slices import read_grey


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="inference/<dataset> of a run")
    add("--dataset", metavar="NAME", help="registered dataset (default: the folder's name)")
    add("--count", type=int, default=6, metavar="N", help="slices to draw (default: %(default)s)")
    text = "draw detections above this score (default: %(default)s)"
    add("--score-thresh", type=float, default=0.5, metavar="SCORE", help=text)
    text = "PNG, SVG or PDF (default: predictions.png in FOLDER)"
    add("--output", type=Path, metavar="FILE", help=text)
    return parser.parse_args()


def _read_slice(path: Path) -> np.ndarray:
    image = read_grey(path)
    if image is None:
        raise DatasetError(f"{path} is missing or not a readable picture. Restore the file.")
    return image


def main() -> None:
    args = parse_arguments()
    name = args.dataset or args.folder.name
    results = args.folder / RESULTS_FILE
    if not results.is_file():
        raise DatasetError(f"{results} does not exist. Evaluate the run with ct-lesion train.")
    if name not in DatasetCatalog:
        raise DatasetError(f"{name} is not a registered dataset. Give its name with --dataset.")
    DatasetCatalog.get(name)
    metadata = MetadataCatalog.get(name)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its steps
        truth = COCO(metadata.json_file)
    chosen = choose_slices(truth, args.count)
    root = Path(metadata.image_root)
    images = {i: _read_slice(root / truth.imgs[i]["file_name"]) for i in chosen}
    detections = read_json(results, list, DatasetError, "Evaluate the run again.")
    check_detections(results, detections, truth.dataset)
    pictures = describe_slices(truth, detections, chosen, images, args.score_thresh)
    output = args.output or args.folder / "predictions.png"
    with locked_names(output), atomic_write(output) as temporary:
        segmentation_figure(pictures, args.score_thresh).savefig(temporary, dpi=150)
    print(f"Written: {output}")


if __name__ == "__main__":
    run_tool(main)
