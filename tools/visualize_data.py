#!/usr/bin/env python3
"""Draw the training data: the ground truth, or the inputs of the network.

Examples:
    python tools/visualize_data.py --config-file configs/segmentation/resnet18_t1.yaml \\
        --source annotation --output-dir output/annotations
    python tools/visualize_data.py --config-file configs/classification/resnet18_t1.yaml \\
        --source dataloader --output-dir output/inputs --limit 36 SEED 1
    python tools/visualize_data.py --config-file configs/segmentation/resnet18_t1.yaml \\
        --source annotation --output-dir output/test DATASETS.TRAIN "('cncb_lesion_test',)"

"annotation" draws slices of DATASETS.TRAIN as they are annotated, in random order. "dataloader"
draws the first training inputs with this SEED, resized and augmented; slices without lesions are
left out if training skips them (DATALOADER.FILTER_EMPTY_ANNOTATIONS). A negative SEED counts as 0.
Writes contact_sheet.png and a PNG per slice to DIR.
"""

import argparse
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import ct_lesion  # noqa: F401  (importing Detectron2 first would print warnings)

# isort: split
import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from tqdm import tqdm

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.data.loading.seeding import derived_seed, seeded
from ct_lesion.engine.checks import check_classes, check_lesion_datasets
from ct_lesion.engine.setup import read_config
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import UserError
from ct_lesion.files import atomic_folder, locked_names
from ct_lesion.folders import check_replaceable
from ct_lesion.pages.figures import plain_texts
from ct_lesion.pictures import write_picture
from ct_lesion.report.figures.input_pictures import (
    InputPicture,
    contact_sheet,
    draw_ground_truth,
    draw_input,
)

SHEET = "contact_sheet.png"
MOST = 100  # pictures on a contact sheet


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    add("--source", choices=("annotation", "dataloader"), required=True, help="what to draw")
    add("--config-file", required=True, metavar="FILE", help="training config")
    add("--output-dir", type=Path, required=True, metavar="DIR", help="output folder")
    add("--overwrite", action="store_true", help="replace earlier pictures in DIR")
    add("--limit", type=int, default=16, metavar="N", help="slices to draw (default: %(default)s)")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys to change")
    return parser.parse_args()


def read_training_config(args: argparse.Namespace) -> CfgNode:
    """The checked config, without test sets and with a seed."""
    cfg = read_config(args.config_file, args.opts, "training")
    cfg.MODEL.DEVICE = "cpu"
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS = 0  # does not change the inputs
    cfg.SEED = max(cfg.SEED, 0)
    check_classes(cfg)
    for remark in check_lesion_datasets(cfg):
        print(remark)
    return cfg


def draw(cfg: CfgNode, source: str, limit: int, metadata: Metadata) -> Iterator[InputPicture]:
    """Draw at most ``limit`` pictures."""
    if source == "dataloader":
        for mapped in islice(chain.from_iterable(LesionTrainer.build_train_loader(cfg)), limit):
            yield draw_input(mapped, metadata, cfg.INPUT.FORMAT)
        return
    records = [record for name in cfg.DATASETS.TRAIN for record in DatasetCatalog.get(name)]
    for index in np.random.default_rng(cfg.SEED).permutation(len(records))[:limit]:
        yield draw_ground_truth(records[index], metadata)


def main() -> None:
    args = parse_arguments()
    if args.limit < 1:
        raise UserError(f"--limit is {args.limit}, expected at least 1.")
    with locked_names(args.output_dir):
        check_replaceable(args.output_dir, SHEET, "set of pictures", args.overwrite)
        cfg = read_training_config(args)
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        names = ", ".join(cfg.DATASETS.TRAIN)
        title = f"{names}: {args.source} (seed {cfg.SEED})"
        with plain_texts(), atomic_folder(args.output_dir) as folder:
            with seeded(derived_seed(cfg.SEED, "shades")):  # the Visualizer jitters its colours
                drawn = draw(cfg, args.source, args.limit, metadata)
                pictures = list(tqdm(drawn, total=args.limit, unit="slice", disable=None))
            for number, picture in enumerate(pictures, start=1):
                stem = re.sub(r"[^\w.-]", "_", Path(picture.source).stem)[:80]
                write_picture(folder / f"{number:03d}_{stem}.png", picture.pixels)
            contact_sheet(pictures[:MOST], title).savefig(folder / SHEET, dpi=150)
    print(f"{title}: {len(pictures)} slices")
    print(f"Written: {args.output_dir / SHEET} and a PNG for each slice")


if __name__ == "__main__":
    run_tool(main)
