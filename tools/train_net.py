#!/usr/bin/env python3
"""Train or evaluate a lesion segmenter or COVID-CT-Mask-Net.

Examples:
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --resume
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml \\
        --deterministic SEED 1
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --eval-only \\
        MODEL.WEIGHTS output/segmentation/resnet18_t1/model_best.safetensors

Everything is written to OUTPUT_DIR: checkpoints, the best and the final weights, config.yaml,
metrics.json, log.txt, and evaluations in inference/<dataset>. Not for clinical use.
"""

import argparse
import logging
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser, launch

from ct_lesion.engine.setup import setup_run
from ct_lesion.engine.trainer import LesionTrainer, load_trained
from ct_lesion.errors import run_tool


def evaluate(cfg: CfgNode) -> None:
    LesionTrainer.test(cfg, load_trained(cfg))


def train(cfg: CfgNode, resume: bool) -> None:
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


def main(args: argparse.Namespace) -> None:
    cfg = setup_run(args)
    if args.eval_only:
        evaluate(cfg)
    else:
        train(cfg, args.resume)
    logging.getLogger("ct_lesion").info(f"All files of this run are in {Path(cfg.OUTPUT_DIR)}")


def launch_main() -> None:
    args = parse_arguments()
    launch(
        main,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
    )


def parse_arguments() -> argparse.Namespace:
    parser = default_argument_parser(epilog=__doc__.partition("\n\n")[2])
    parser.description = __doc__.partition("\n\n")[0]
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same result each time from the same SEED: bit for bit on a CPU with the same "
        "number of threads; on a GPU as far as torch can, and slower (docs/faults.md)",
    )
    args = parser.parse_args()
    if not torch.cuda.is_available() and args.num_gpus > 1:
        print(f"No GPU here: one process is used instead of --num-gpus {args.num_gpus}.")
        args.num_gpus = 1
    return args


if __name__ == "__main__":
    run_tool(launch_main)
