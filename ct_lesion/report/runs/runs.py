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
    """A run's folder.

    Attributes:
        name: short, different from that of every other run of the report.
        cfg: of the last training or evaluation in this folder.
        training: of ``training.json``; empty if there is none.
        curves: lines of ``metrics.json``, by falling age.
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
        """The config of the training, if there was one in this folder.

        Raises:
            CheckpointError: ``training.json`` holds one that cannot be read.
        """
        if not self.training:
            return None
        return config_from_description(self.training) if "config" in self.training else self.cfg

    @property
    def minutes(self) -> float | None:
        """Time in training, with what had to be computed before it."""
        if not self.training:
            return None
        return (self.training["seconds"] + self.training.get("preparation_seconds", 0)) / 60

    def weights_files(self, record: Mapping) -> list[Path]:
        """The files in this folder that hold the weights of an evaluation, at least one.

        Raises:
            RunError: there is none; it was deleted, or the weights are elsewhere.
        """
        wanted, found = record.get("weights_sha256"), []
        for path in sorted(self.folder.glob("*.safetensors")):
            with contextlib.suppress(CheckpointError):  # a damaged file holds them least of all
                if hash_weights(read_checkpoint(path).model) == wanted:
                    found.append(path)
        if found:
            return found
        raise RunError(
            f"{self.folder}: no .safetensors file in it holds the weights that "
            f"{record.get('dataset', 'the dataset')} was evaluated with."
        )


def load_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read runs, and name them by their folders.

    Raises:
        RunError: a folder is no run, or holds no complete evaluation.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise RunError("A run is given twice.")
    return [_load_run(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The last parts of the paths, as few as tell all of them apart."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _load_run(folder: Path, name: str) -> Run:
    config = folder / "config.yaml"
    if not config.is_file():
        raise RunError(f"{folder}: is no run of tools/train_net.py, there is no config.yaml in it.")
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
    """Lines of JSON; one that a killed process left incomplete is passed over."""
    lines = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, RecursionError):
                lines.append(json.loads(line))
    return [line for line in lines if isinstance(line, dict)]
