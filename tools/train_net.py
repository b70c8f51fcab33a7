#!/usr/bin/env python3
"""Train or evaluate a lesion segmenter or COVID-CT-Mask-Net.

Examples:
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --resume
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml \\
        --deterministic SEED 1
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --eval-only \\
        MODEL.WEIGHTS output/segmentation/resnet18_t1/model_best.safetensors
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --num-gpus 8 \\
        SOLVER.REFERENCE_WORLD_SIZE 1

Without a GPU --num-gpus N means N processes on the CPU. Processes that torchrun or srun start join
each other; see docs/distributed.md.

Everything is written to OUTPUT_DIR: checkpoints, the best and the final weights, config.yaml,
metrics.json, log.txt, and evaluations in inference/<dataset>. Not for clinical use.
"""

import argparse
import logging
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import default_argument_parser

from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.launch import launch
from ct_lesion.engine.setup import read_config, setup_run
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError, run_tool

ADVICE = "The command with --resume goes on from the last checkpoint."


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
        on_gpu=wants_gpu(args),
        advice="" if args.eval_only else ADVICE,
    )


def wants_gpu(args: argparse.Namespace) -> bool:
    try:
        return read_config(args.config_file, args.opts).MODEL.DEVICE.startswith("cuda")
    except ConfigError:
        return False  # the run says what is wrong, once


def parse_arguments() -> argparse.Namespace:
    parser = default_argument_parser(epilog=__doc__.partition("\n\n")[2])
    parser.description = __doc__.partition("\n\n")[0]
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="the same result each time from the same SEED: bit for bit on a CPU with the same "
        "number of threads; on a GPU as far as torch can, and slower (docs/faults.md)",
    )
    # Detectron2's own is one port a user, so that a second run on the machine would fail
    parser.set_defaults(dist_url="auto")
    return parser.parse_args()


if __name__ == "__main__":
    run_tool(launch_main)
