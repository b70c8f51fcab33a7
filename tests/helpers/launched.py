"""Functions that tests run in several processes, in a module that each process can import."""

import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from toy_runs import TOY_TRAINING

from ct_lesion import load_config, register_cncb_lesion, register_covidx_ct
from ct_lesion.command_line import run_tool
from ct_lesion.engine.across_processes import unwrap_model
from ct_lesion.engine.builders import load_trained
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.launch import launch
from ct_lesion.engine.trainer import LesionTrainer
from ct_lesion.errors import ConfigError

CLASSIFIER = {"MODEL.ROI_BATCH.SIZE": 8, "MODEL.CLASSIFIER.WIDTH": 16}


class Toys(NamedTuple):
    """Json files of toy datasets by name, the folder of their images, and two checkpoints."""

    images: Path
    lesions: dict[str, Path]
    classes: dict[str, Path]
    segmenter: Path
    classifier: Path

    def register(self) -> None:
        """Register the datasets as toy_lesion_<name> and toy_classes_<name>, in this process."""
        for name, file in self.lesions.items():
            register_cncb_lesion(f"toy_lesion_{name}", str(file), str(self.images))
        for name, file in self.classes.items():
            register_covidx_ct(f"toy_classes_{name}", file, self.images)

    def unregister(self) -> None:
        for name in DatasetCatalog.list():
            if name.startswith("toy_"):
                DatasetCatalog.remove(name)
                MetadataCatalog.remove(name)


def make_cfg(config: str, folder: Path, **values: object) -> CfgNode:
    values = {**TOY_TRAINING, **values, "OUTPUT_DIR": str(folder)}
    return load_config(config, [item for pair in values.items() for item in pair])


def segmentation_cfg(folder: Path, **values: object) -> CfgNode:
    values = {"DATASETS.TRAIN": ("toy_lesion_train",), **values}
    values = {"DATASETS.TEST": ("toy_lesion_test",), **values}
    return make_cfg("segmentation/resnet18_t2.yaml", folder, **values)


def classification_cfg(folder: Path, **values: object) -> CfgNode:
    values = {"DATASETS.TRAIN": ("toy_classes_all",), **values}
    values = {"DATASETS.TEST": ("toy_classes_five",), **CLASSIFIER, **values}
    return make_cfg("classification/resnet18_t2.yaml", folder, **values)


def evaluate_and_train_s(toys: Toys, folder: Path) -> None:
    """Work that must give the same files in one process and in several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the order of summation depends on the number of threads
    cfg = segmentation_cfg(
        folder / "segmentation",
        **{
            "MODEL.WEIGHTS": str(toys.segmenter),
            "MODEL.ROI_HEADS.SCORE_THRESH_TEST": 0.0,
            # the second dataset has fewer slices than there are processes
            "DATASETS.TEST": ("toy_lesion_test", "toy_lesion_one"),
        },
    )
    LesionTrainer.test(cfg, load_trained(cfg))
    cfg = classification_cfg(
        folder / "classification",
        **{
            "MODEL.WEIGHTS": str(toys.classifier),
            "DATASETS.TEST": ("toy_classes_five", "toy_classes_one"),
        },
    )
    LesionTrainer.test(cfg, load_trained(cfg))
    train_s(toys, folder / "s")
    torch.set_num_threads(threads)


def train_s(toys: Toys, folder: Path) -> None:
    values = {
        "MODEL.WEIGHTS": str(toys.segmenter),
        "MODEL.CLASSIFIER.TRAIN_BATCHNORM": "none",
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_ITER": 12,
        "TEST.EVAL_PERIOD": 0,
    }
    train(classification_cfg(folder, **values))


def train(cfg: CfgNode) -> LesionTrainer:
    """Train, and write the total loss of each iteration to ``losses.json``."""
    seed_all_rng(cfg.SEED + comm.get_rank())  # like Detectron2's default_setup
    trainer = LesionTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    if comm.is_main_process():
        losses = [value for value, _ in trainer.storage.history("total_loss").values()]
        (Path(cfg.OUTPUT_DIR) / "losses.json").write_text(json.dumps(losses))
    return trainer


def work_in_two_processes(toys: Toys, folder: Path) -> None:
    """:func:`evaluate_and_train_s`, then train detectors; writes ``facts.json``."""
    toys.register()
    facts = {"ranks": comm.all_gather(comm.get_rank())}
    facts["seeds"] = comm.all_gather(comm.shared_random_seed())
    evaluate_and_train_s(toys, folder)
    trained = {
        # also on batches without lesions
        "segmenter": train(
            segmentation_cfg(
                folder / "trained",
                **{
                    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
                    "SOLVER.IMS_PER_BATCH": 2,
                    "SOLVER.MAX_ITER": 12,
                },
            )
        ),
        "affine": train(
            classification_cfg(
                folder / "affine",
                **{
                    "MODEL.WEIGHTS": str(toys.segmenter),
                    "SOLVER.IMS_PER_BATCH": 2,
                    "SOLVER.MAX_ITER": 2,
                },
            )
        ),
    }
    for name, trainer in trained.items():
        weights = dict(unwrap_model(trainer.model).named_parameters())
        facts[name] = comm.all_gather(hash_weights(weights))
    if comm.is_main_process():
        (folder / "facts.json").write_text(json.dumps(facts))


# ---- processes that fail ------------------------------------------------------------------------
def wait_for_each_other(reason: str, folder: Path) -> None:
    """Both processes make a mistake, or one has a bug or sleeps while the other waits for it."""
    (folder / f"pid{comm.get_rank()}").write_text(str(os.getpid()))
    if reason == "mistake":
        raise ConfigError("KEY is wrong")
    if not comm.is_main_process():
        if reason == "bug":
            raise AssertionError("a bug")
        time.sleep(600)
    comm.synchronize()


# ---- processes that a launcher started ----------------------------------------------------------
def write_ranks(folder: Path) -> None:
    """Write rank, local rank and local size of all processes, as this process sees them."""
    ranks = comm.all_gather((comm.get_rank(), comm.get_local_rank(), comm.get_local_size()))
    (folder / f"ranks{comm.get_rank()}.json").write_text(json.dumps(ranks))


if __name__ == "__main__":
    # usage: launched.py FUNCTION FOLDER KEYWORDS_OF_LAUNCH_AS_JSON
    function, folder = globals()[sys.argv[1]], Path(sys.argv[2])
    options = json.loads(sys.argv[3])
    arguments = ("wait", folder) if function is wait_for_each_other else (folder,)
    run_tool(lambda: launch(function, **options, args=arguments, on_gpu=False))
