"""Turns command-line arguments into a checked config."""

import argparse
import logging
import os
from pathlib import Path

import detectron2.utils.comm as comm
import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils.logger import setup_logger

from ct_lesion.config import NOT_A_CONFIG, config_fault, find_config, load_config
from ct_lesion.config_values import Job, check_values
from ct_lesion.errors import ConfigError
from ct_lesion.files import add_path_to_errors, remove_links

from .across_processes import scale_to_processes
from .checks import (
    check_classes,
    check_lesion_datasets,
    check_validation,
    window_remarks,
    with_window,
    without_missing_val,
)
from .divergence import ignore_full_disk_in_logs
from .patient_overlap import check_patients_apart
from .run_record import choose_seed
from .test_time_augmentation import augmentation_remarks

WRITTEN_BY_DETECTRON2 = ("log.txt*", "config.yaml", "metrics.json", "events.out.*", "inference*")
"""Name patterns of the files and folders that Detectron2 writes in ``OUTPUT_DIR``."""


def checked_config(args: argparse.Namespace) -> tuple[CfgNode, list[str]]:
    """Read and check the config of a run; without a GPU, change it to the CPU.

    Args:
        args: from Detectron2's ``default_argument_parser`` and, optionally, ``deterministic``.

    Returns:
        The frozen config, and remarks about its datasets for :func:`start_run` to log.

    Raises:
        ConfigError: unknown keys, values of the wrong type or range, an unreadable file, keys that
            contradict the datasets, or training on patients of a test set.
        DatasetError: a dataset of the run is missing or invalid.
    """
    job = "evaluation" if args.eval_only else "training"
    cfg = read_config(args.config_file, args.opts, job)
    args.config_file = find_config(args.config_file)  # Detectron2 copies the file into the log
    if cfg.MODEL.DEVICE.startswith("cuda") and not torch.cuda.is_available():
        _print_once(f"No GPU found (MODEL.DEVICE is {cfg.MODEL.DEVICE}): using the CPU.")
        cfg.MODEL.DEVICE = "cpu"
    if cfg.MODEL.DEVICE == "cpu" and cfg.SOLVER.AMP.ENABLED:
        _print_once("Mixed precision needs a GPU: SOLVER.AMP.ENABLED is set to False.")
        cfg.SOLVER.AMP.ENABLED = False
    if not args.eval_only:
        cfg.SEED = choose_seed(cfg, args.resume)
    if getattr(args, "deterministic", False):
        use_deterministic_algorithms()
    cfg.freeze()
    cfg, notes = (cfg, []) if args.eval_only else without_missing_val(cfg)
    check_classes(cfg)
    if not args.eval_only:
        check_validation(cfg)
    notes = notes + augmentation_remarks(cfg, training=not args.eval_only)
    cfg = with_window(cfg, training=not args.eval_only)
    remarks = check_lesion_datasets(cfg, training=not args.eval_only)
    if not args.eval_only:
        scale_to_processes(cfg, comm.get_world_size())  # dry run: is the batch divisible?
        check_patients_apart(cfg)
    return cfg, notes + remarks + window_remarks(cfg, training=not args.eval_only)


def start_run(cfg: CfgNode, args: argparse.Namespace, remarks: list[str]) -> None:
    """Start the log and write ``config.yaml`` in ``OUTPUT_DIR``.

    Links at paths that Detectron2 writes to are removed, so that it cannot write through them into
    other folders. ct_lesion itself never writes through links.

    Args:
        cfg, remarks: result of :func:`checked_config`.
        args: the arguments of :func:`checked_config`.
    """
    removed = []
    if comm.get_local_rank() == 0:  # machines may have different disks
        folder = Path(cfg.OUTPUT_DIR)
        removed = remove_links(path for name in WRITTEN_BY_DETECTRON2 for path in folder.glob(name))
    comm.synchronize()
    with add_path_to_errors(cfg.OUTPUT_DIR):
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="ct_lesion")
        default_setup(cfg, args)
    for link in removed:
        logging.getLogger("ct_lesion").warning(
            f"Removed the link {link}, because the run writes there. Its target is unchanged."
        )
    for remark in remarks:
        logging.getLogger("ct_lesion").warning(remark)
    ignore_full_disk_in_logs()


def use_deterministic_algorithms() -> None:
    """Make torch, cuDNN and cuBLAS use deterministic algorithms, which are slower.

    For an operation without one, torch warns and uses the nondeterministic algorithm.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def _print_once(line: str) -> None:
    if comm.is_main_process():
        print(line)


def read_config(config_file: str, overrides: list[str], job: Job = "prediction") -> CfgNode:
    """Load a config with :func:`ct_lesion.load_config` and check all of its values.

    Args:
        config_file: a yaml file, or the name of a shipped config.
        overrides: alternating keys and values.
        job: see :func:`ct_lesion.config_values.check_values`.

    Raises:
        ConfigError: the file cannot be read, or a key or value is invalid. The message is one line
            and names the file and the overrides.
    """
    if not config_file:
        raise ConfigError(
            "--config-file is missing. Add e.g. --config-file "
            "configs/segmentation/resnet18_t1.yaml."
        )
    where = f"{config_file} with overrides {overrides}" if overrides else config_file
    options = [text for text in overrides[::2] if text.startswith("--")]
    if options:
        raise ConfigError(
            f"{where}: the option {options[0]} is among the KEY VALUE pairs. Put options first."
        )
    try:
        cfg = load_config(config_file, overrides)
    except ConfigError:
        raise
    except NOT_A_CONFIG as error:
        raise ConfigError(f"{where}: {config_fault(error)}") from None
    check_values(cfg, where, job)
    return cfg
