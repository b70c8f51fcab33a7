"""Records of a training and of its evaluations: duration, seed, hardware, versions, hashes."""

import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Callable
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

from .across_processes import unwrap_model
from .checks import dataset_hashes
from .fingerprint import hash_weights
from .patient_overlap import find_shared_patients

TRAINING_RECORD = "training.json"
EVALUATION_RECORD = "evaluation.json"


def hardware() -> dict[str, Any]:
    """Processor, cores, threads, GPUs and number of processes of this run, as JSON values."""
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


def _environment(cfg: CfgNode) -> dict[str, Any]:
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


def _compare_patients(cfg: CfgNode) -> dict[str, Any]:
    overlap = find_shared_patients(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)
    return overlap.as_dict(allowed=cfg.DATASETS.ALLOW_SHARED_PATIENTS)


class TrainingRecord(HookBase):
    """Writes ``training.json`` into the run's folder, and continues it when the run is resumed.

    ``patients`` counts the patients of the training and test sets and lists those in both.

    ``seconds`` is the time spent in training steps, without evaluations and checkpoints.
    ``preparation_seconds`` is the time spent before the first step, e.g. on RoI batches. Steps
    after the last checkpoint of a killed run are repeated, so only the repetition counts.

    Attributes:
        run: random name of the run, which a resumed run keeps.
        seed: seed of the run.
        skipped_slices: returns the reason by file name of the slices that could not be read.
        stopped_early: why the run ended before ``SOLVER.MAX_ITER``, if it did.
        preparation_seconds: see above, in this process only.
        changes: for each resume with changed keys, the iteration and, by key, the old and the new
            value.
    """

    def __init__(self, cfg: CfgNode, seed: int) -> None:
        self.run = secrets.token_hex(8)
        self.seed = seed
        self.skipped_slices: Callable[[], dict[str, str]] = dict
        self.stopped_early: str | None = None
        self.changes: list[dict[str, Any]] = []
        self._restored = False
        self._cfg = cfg
        self._period = cfg.SOLVER.CHECKPOINT_PERIOD
        self._path = Path(cfg.OUTPUT_DIR) / TRAINING_RECORD
        self._earlier = {"seconds": 0.0, "preparation_seconds": 0.0}
        self._seconds = 0.0
        self._iterations = 0
        self._step_began = 0.0
        self._patients: dict[str, Any] = {}
        self.preparation_seconds = 0.0

    def state_dict(self) -> dict:
        return {**self._times(), "changes": self.changes}

    def load_state_dict(self, state: dict) -> None:
        self._earlier = {key: state[key] for key in self._earlier}
        self.changes = list(state.get("changes", ()))
        self._restored = True

    def before_train(self) -> None:
        self._patients = _compare_patients(self._cfg)
        self._iterations = self.trainer.start_iter
        # checkpoints of earlier versions do not hold the times
        if self._iterations > 0 and not self._restored and self._path.is_file():
            advice = "Remove it; the run's time then counts from this resume."
            record = read_json(self._path, dict, ConfigError, advice)
            earlier = {key: record.get(key, 0.0) for key in self._earlier}
            if not all(type(seconds) in (int, float) for seconds in earlier.values()):
                raise ConfigError(
                    f"{self._path} is damaged (its seconds are not numbers). {advice}"
                )
            self._earlier = earlier
        self._save()  # a run killed before its first checkpoint resumes with this seed and name

    def before_step(self) -> None:
        self._step_began = time.perf_counter()

    def after_step(self) -> None:
        self._seconds += time.perf_counter() - self._step_began
        self._iterations = self.trainer.iter + 1
        if self._period > 0 and self._iterations % self._period == 0:
            self._save()

    def after_train(self) -> None:
        self._save()

    def _times(self) -> dict[str, float]:
        return {
            "seconds": self._earlier["seconds"] + self._seconds,
            "preparation_seconds": self._earlier["preparation_seconds"] + self.preparation_seconds,
        }

    def _save(self) -> None:
        content = {
            "run": self.run,
            "iterations": self._iterations,
            **self._times(),
            "skipped_slices": self.skipped_slices(),
            "changed_on_resume": self.changes,
            "stopped_early": self.stopped_early,
            "trained_on": list(self._cfg.DATASETS.TRAIN),
            "patients": self._patients,
            # a later evaluation in this folder overwrites config.yaml
            "config": self._cfg.dump(),
            **_environment(self._cfg),
            "seed": self.seed,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }
        _write(self._path, content)


class EvaluationRecord(DatasetEvaluator):
    """Writes ``evaluation.json`` beside the results of an evaluation; computes no metrics.

    It holds hashes of the weights and datasets, and the duration in seconds.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: torch.nn.Module,
        dataset_name: str,
        folder: str | Path,
        augmentation: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            cfg: config of the evaluation.
            model: the model whose weights are hashed.
            dataset_name: the test set.
            folder: ``inference/<dataset>`` of the run.
            augmentation: settings of test-time augmentation, if it is used.
        """
        self._cfg = cfg
        self._model = model
        self._dataset_name = dataset_name
        self._augmentation = augmentation
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
        """Write the record in the main process; returns no metrics."""
        slices = sum(comm.all_gather(self._slices))
        if comm.is_main_process():
            metadata = MetadataCatalog.get(self._dataset_name)
            content = {
                "dataset": self._dataset_name,
                "image_root": metadata.get("image_root", None),
                "slices": slices,
                "is_a_training_set": self._dataset_name in self._cfg.DATASETS.TRAIN,
                "test_time_augmentation": self._augmentation,
                "seconds": time.perf_counter() - self._began,
                "weights_sha256": hash_weights(unwrap_model(self._model).state_dict()),
                **_environment(self._cfg),
            }
            _write(self._path, content)
        return {}


def choose_seed(cfg: CfgNode, resume: bool = False) -> int:
    """Return ``SEED`` or, if it is negative, the seed of the run to resume or a new random seed.

    Returns:
        The same seed in all processes.
    """
    if cfg.SEED >= 0:
        return cfg.SEED
    earlier = recorded(cfg.OUTPUT_DIR).get("seed") if resume else None
    seed = int.from_bytes(os.urandom(4), "big") >> 1 if earlier is None else int(earlier)
    return comm.all_gather(seed)[0]


def recorded(folder: str | Path) -> dict:
    """Content of ``training.json`` in a run's folder; empty if there is no such file.

    Raises:
        ConfigError: the file is damaged.
    """
    path = Path(folder) / TRAINING_RECORD
    advice = "Remove it; the run then continues under a new name."
    return read_json(path, dict, ConfigError, advice) if path.is_file() else {}
