"""The runs of a report, read back from the folders that training and evaluation left.

A run's folder is ``OUTPUT_DIR`` of ``tools/train_net.py``; its evaluations are in
``inference/<dataset>``.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.config import CfgNode

from ct_lesion.checkpoint import CheckpointError, config_from_description, read_checkpoint
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.metrics_files import METRICS_FILE
from ct_lesion.engine.run_record import TRAINING_RECORD
from ct_lesion.engine.setup import read_config
from ct_lesion.evaluation.classification import PREDICTIONS_FILE
from ct_lesion.evaluation.lesion_evaluator import RESULTS_FILE

from .results import (
    ClassificationResult,
    SegmentationResult,
    read_classification,
    read_segmentation,
)
from .run_checks import TRAINING, RunError, read_object


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        folder: of the run.
        name: short and unique among the runs of the report.
        cfg: of the last training or evaluation in the folder.
        training: content of ``training.json``; empty without the file.
        curves: lines of ``metrics.json``, the oldest first.
        segmentation, classification: evaluations by dataset.
    """

    folder: Path
    name: str
    cfg: CfgNode
    training: dict
    curves: list[dict]
    segmentation: dict[str, SegmentationResult] = field(default_factory=dict)
    classification: dict[str, ClassificationResult] = field(default_factory=dict)

    @property
    def training_cfg(self) -> CfgNode | None:
        """The config of the training; ``None`` without a training record.

        Raises:
            CheckpointError: the config in ``training.json`` cannot be read.
        """
        if not self.training:
            return None
        return config_from_description(self.training) if "config" in self.training else self.cfg

    @property
    def minutes(self) -> float | None:
        """Training time with its preparation (cached RoI batches); ``None`` without a record."""
        if not self.training:
            return None
        return (self.training["seconds"] + self.training.get("preparation_seconds", 0)) / 60

    def weights_files(self, record: Mapping) -> list[Path]:
        """The files in the folder that hold the weights of an evaluation, at least one.

        Args:
            record: of the evaluation.

        Raises:
            RunError: no file holds them.
        """
        wanted, found = record.get("weights_sha256"), []
        for path in sorted(self.folder.glob("*.safetensors")):
            with contextlib.suppress(CheckpointError):  # a damaged file does not hold the weights
                if hash_weights(read_checkpoint(path).model) == wanted:
                    found.append(path)
        if found:
            return found
        raise RunError(
            f"{self.folder}: holds no .safetensors file with the weights that "
            f"{record.get('dataset', 'the dataset')} was evaluated with. Evaluate the run again."
        )


def load_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read the runs in folders, which also name them.

    Raises:
        RunError: a folder is given twice, is not a run, or holds no complete evaluation.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise RunError("A run is given twice. Name each folder once.")
    return [_load_run(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest tails of the paths that are unique."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _load_run(folder: Path, name: str) -> Run:
    config = folder / "config.yaml"
    if not config.is_file():
        raise RunError(f"{folder}: is not a run of tools/train_net.py; it holds no config.yaml.")
    evaluations = sorted(p for p in folder.glob("inference/*") if p.is_dir())
    run = Run(
        folder,
        name,
        read_config(str(config), []),
        read_object(folder / TRAINING_RECORD, TRAINING, optional=True),
        _read_lines(folder / METRICS_FILE),
        {p.name: read_segmentation(p) for p in evaluations if (p / RESULTS_FILE).is_file()},
        {p.name: read_classification(p) for p in evaluations if (p / PREDICTIONS_FILE).is_file()},
    )
    if not run.segmentation and not run.classification:
        raise RunError(
            f"{folder}: holds no predictions. Evaluate it first: python tools/train_net.py "
            f"--config-file {config} --eval-only MODEL.WEIGHTS "
            f"{folder / 'model_final.safetensors'}"
        )
    return run


def _read_lines(path: Path) -> list[dict]:
    """Lines of JSON; a line that a killed process left incomplete is skipped."""
    lines = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]
