#!/usr/bin/env python3
"""Train or evaluate a lesion segmenter or COVID-CT-Mask-Net.

Examples:
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --resume
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml \\
        --deterministic SEED 1
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --eval-only \\
        MODEL.WEIGHTS output/segmentation/resnet18_t1/model_best.safetensors \\
        DATASETS.TEST "('cncb_lesion_test',)"
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --eval-only \\
        MODEL.WEIGHTS output/segmentation/resnet18_t1/model_best.safetensors \\
        DATASETS.TEST "('cncb_lesion_test',)" TEST.AUG.ENABLED True
    python tools/train_net.py --config-file configs/segmentation/resnet18_t1.yaml --num-gpus 8 \\
        SOLVER.REFERENCE_WORLD_SIZE 1

Without a GPU, --num-gpus N starts N processes on the CPU. Processes started by torchrun or srun
join each other (docs/distributed.md).

Writes checkpoints, the best and the final weights, config.yaml, metrics.json, log.txt, and
evaluations in inference/<dataset> to OUTPUT_DIR, a key of the config. Evaluations with test-time
augmentation (TEST.AUG, segmenters with --eval-only) are in inference_TTA/<dataset>. For research
use only. Not for clinical use.
"""

import argparse
import logging
from pathlib import Path

from ct_lesion.command_line import run_tool, tool_parser
from ct_lesion.engine import LesionTrainer
from ct_lesion.engine.across_processes import locked_by_all
from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.launch import launch
from ct_lesion.engine.setup import checked_config, read_config, start_run
from ct_lesion.engine.test_time_augmentation import log_gain
from ct_lesion.errors import ConfigError

ADVICE = "Rerun the command with --resume to continue from the last checkpoint."


HELP = {  # in place of Detectron2's texts for its options
    "config_file": "path or name of a shipped config",
    "resume": "continue the run in OUTPUT_DIR from its last checkpoint, if it has one",
    "eval_only": "evaluate MODEL.WEIGHTS on DATASETS.TEST, without training",
    "num_gpus": "processes on this machine, each with a GPU (default: 1)",
    "num_machines": "machines that train together (default: 1)",
    "machine_rank": "number of this machine, from 0 (default: 0)",
    "dist_url": "tcp address of the first machine, e.g. tcp://10.0.0.1:29500 (default: automatic)",
    "opts": "KEY VALUE pairs that change the config, after all options",
}


def parse_arguments() -> argparse.Namespace:
    """Detectron2's options and ``--deterministic``."""
    from detectron2.engine import default_argument_parser  # after ct_lesion says if it is missing

    parser = default_argument_parser()
    about = tool_parser(__doc__)
    parser.description, parser.epilog = about.description, about.epilog
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="make runs with the same SEED identical on a CPU with the same number of threads, and "
        "as similar as torch allows on a GPU; slower (docs/faults.md)",
    )
    for action in parser._actions:
        action.help = HELP.get(action.dest, action.help)
    # Detectron2's default is one fixed port per user: a second run on the machine would fail
    parser.set_defaults(dist_url="auto")
    return parser.parse_args()


def train_or_evaluate(args: argparse.Namespace) -> None:
    """Train or evaluate; runs in each process."""
    cfg, remarks = checked_config(args)
    folder = Path(cfg.OUTPUT_DIR)
    with locked_by_all(folder):
        start_run(cfg, args, remarks)
        if args.eval_only:
            model = load_trained(cfg)
            results = LesionTrainer.test(cfg, model)
            if cfg.TEST.AUG.ENABLED:
                log_gain(cfg, results, LesionTrainer.test_with_TTA(cfg, model))
        else:
            trainer = LesionTrainer(cfg)
            trainer.resume_or_load(resume=args.resume)
            trainer.train()
        logging.getLogger("ct_lesion").info(f"All files of this run are in {folder}")


def wants_gpu(args: argparse.Namespace) -> bool:
    try:
        return read_config(args.config_file, args.opts).MODEL.DEVICE.startswith("cuda")
    except ConfigError:
        return False  # checked_config reports the error


def main() -> None:
    args = parse_arguments()
    launch(
        train_or_evaluate,
        args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        args=(args,),
        on_gpu=wants_gpu(args),
        advice="" if args.eval_only else ADVICE,
    )


if __name__ == "__main__":
    run_tool(main)
