"""What a run did, beside its results: seconds, seed, hardware, versions, hashes."""

import hashlib
import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from ct_lesion.checkpoint import library_versions
from ct_lesion.errors import ConfigError
from ct_lesion.files import write_together
from ct_lesion.json_files import read_json

from .checks import dataset_hashes
from .fingerprint import hash_weights, unwrap_model

TRAINING_RECORD = "training.json"
EVALUATION_RECORD = "evaluation.json"


def hardware() -> dict[str, Any]:
    """The machine in plain values: processor, cores, threads, GPUs, processes of this run."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
        "processes": comm.get_world_size(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _processor_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _circumstances(cfg: CfgNode) -> dict[str, Any]:
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": cfg.MODEL.DEVICE,
        "seed": cfg.SEED if cfg.SEED >= 0 else None,
        "config_sha256": hashlib.sha256(cfg.dump().encode()).hexdigest(),
        "dataset_sha256": dataset_hashes(cfg),
        "hardware": hardware(),
        "versions": library_versions(),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    write_together({path: json.dumps(content, indent=2) + "\n"})


class TrainingRecord(HookBase):
    """Keeps ``training.json`` in the run's folder up to date, also over a resumed run.

    ``seconds`` is the time in training steps, evaluations and checkpoints not included, and in
    ``preparation_seconds``, that of what had to be computed before the first step.
    """

    def __init__(self, cfg: CfgNode, period: int) -> None:
        """
        Args:
            cfg: of the run.
            period: iterations between writings; that of the checkpoints, so that a killed run,
                which goes on from a checkpoint, knows the time spent up to it.
        """
        self._cfg = cfg
        self._period = period
        self._path = Path(cfg.OUTPUT_DIR) / TRAINING_RECORD
        self._earlier = {"seconds": 0.0, "preparation_seconds": 0.0}
        self._seconds = 0.0
        self._iterations = 0
        self._step_began = 0.0
        self.preparation_seconds = 0.0

    def before_train(self) -> None:
        self._iterations = self.trainer.start_iter
        if self._iterations > 0 and self._path.is_file():
            advice = "Remove it to count the time of the run from here on."
            record = read_json(self._path, dict, ConfigError, advice)
            earlier = {key: record.get(key, 0.0) for key in self._earlier}
            if not all(type(seconds) in (int, float) for seconds in earlier.values()):
                raise ConfigError(
                    f"{self._path}: is damaged (its seconds are no numbers). {advice}"
                )
            self._earlier = earlier

    def before_step(self) -> None:
        self._step_began = time.perf_counter()

    def after_step(self) -> None:
        self._seconds += time.perf_counter() - self._step_began
        self._iterations = self.trainer.iter + 1
        if self._period > 0 and self._iterations % self._period == 0:
            self._save()

    def after_train(self) -> None:
        self._save()

    def _save(self) -> None:
        preparation = self._earlier["preparation_seconds"] + self.preparation_seconds
        content = {
            "iterations": self._iterations,
            "seconds": self._earlier["seconds"] + self._seconds,
            "preparation_seconds": preparation,
            "trained_on": list(self._cfg.DATASETS.TRAIN),
            # a later evaluation in this folder overwrites config.yaml
            "config": self._cfg.dump(),
            **_circumstances(self._cfg),
        }
        _write(self._path, content)


class EvaluationRecord(DatasetEvaluator):
    """Writes ``evaluation.json`` beside the results of an evaluation; measures nothing else.

    It says which weights were evaluated on what, by hashes, and how long it took.
    """

    def __init__(
        self, cfg: CfgNode, model: torch.nn.Module, dataset_name: str, folder: str | Path
    ) -> None:
        """
        Args:
            cfg: of the evaluation.
            model: what is evaluated.
            dataset_name: on what.
            folder: ``inference/<dataset>`` of the run.
        """
        self._cfg = cfg
        self._model = model
        self._dataset_name = dataset_name
        self._path = Path(folder) / EVALUATION_RECORD
        self._slices = 0
        self._began = 0.0

    def reset(self) -> None:
        """Start the clock."""
        self._slices = 0
        self._began = time.perf_counter()

    def process(self, inputs: list[dict], outputs: list) -> None:
        """Count the slices of a batch."""
        self._slices += len(inputs)

    def evaluate(self) -> dict:
        """Write the record in the main process; there are no metrics."""
        slices = sum(comm.all_gather(self._slices))
        if comm.is_main_process():
            metadata = MetadataCatalog.get(self._dataset_name)
            content = {
                "dataset": self._dataset_name,
                "image_root": metadata.get("image_root", None),
                "slices": slices,
                "seconds": time.perf_counter() - self._began,
                "weights_sha256": hash_weights(unwrap_model(self._model).state_dict()),
                **_circumstances(self._cfg),
            }
            _write(self._path, content)
        return {}
