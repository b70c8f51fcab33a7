"""Reads runs from the folders that training and evaluation wrote.

A run's folder is ``OUTPUT_DIR`` of ``tools/train_net.py``; its evaluations are in
``inference/<dataset>``.
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY

from ct_lesion.checkpoint import CheckpointError, config_from_description, read_checkpoint
from ct_lesion.engine.fingerprint import hash_weights
from ct_lesion.engine.hooks.metrics_files import METRICS_FILE
from ct_lesion.engine.run_record import TRAINING_RECORD
from ct_lesion.engine.setup import read_config
from ct_lesion.errors import printable, reason
from ct_lesion.evaluation.classification import PREDICTIONS_FILE
from ct_lesion.evaluation.lesion_evaluator import RESULTS_FILE
from ct_lesion.folders import is_given

from .results import (
    ClassificationResult,
    SegmentationResult,
    read_classification,
    read_segmentation,
)
from .run_checks import TRAINING, RunError, read_object

LARGEST_NUMBER = 1e30  # larger values of a curve are not drawn


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        folder: folder of the run.
        name: short name, unique among the runs of the report.
        cfg: config of the last training or evaluation in the folder.
        training: content of ``training.json``; empty without the file.
        curves: the numbers in the lines of ``metrics.json``, the oldest first.
        notes: sentences about unreadable values that were left out.
        segmentation, classification: evaluations by dataset.
    """

    folder: Path
    name: str
    cfg: CfgNode
    training: dict
    curves: list[dict]
    segmentation: dict[str, SegmentationResult] = field(default_factory=dict)
    classification: dict[str, ClassificationResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def training_cfg(self) -> CfgNode | None:
        """The training config; ``None`` without ``training.json``.

        Raises:
            RunError: the config in ``training.json`` cannot be read.
        """
        if not self.training:
            return None
        if self.training.get("config") is None:
            return self.cfg
        try:
            return config_from_description(self.training)
        except CheckpointError as error:
            raise RunError(
                f"{self.folder / TRAINING_RECORD}: its config cannot be read "
                f"({reason(error.__cause__ or error)}). Train the run again."
            ) from None

    @property
    def minutes(self) -> float | None:
        """Minutes of training and its preparation (RoI batches); ``None`` if unknown."""
        if not self.training:
            return None
        return (self.training["seconds"] + self.training.get("preparation_seconds", 0)) / 60

    def weights_files(self, record: Mapping) -> list[Path]:
        """The files in the folder that hold the weights of an evaluation, at least one.

        Args:
            record: ``evaluation.json`` of the evaluation.

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
            f"{self.folder} holds no .safetensors file with the weights that "
            f"{record.get('dataset', 'the dataset')} was evaluated with. Evaluate the run again."
        )


def load_runs(folders: Sequence[str | Path]) -> list[Run]:
    """Read the runs in folders; a run is named by the shortest unique end of its path.

    Raises:
        RunError: a folder is given twice, is not a run, or holds no complete evaluation.
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise RunError("A run is given twice. Give each folder once.")
    return [_load_run(path, name) for path, name in zip(paths, _short_names(paths), strict=True)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that are unique."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    # titles of figures need names without line breaks
    return [printable(" ".join(name.splitlines())) for name in names]


def _load_run(folder: Path, name: str) -> Run:
    config = folder / "config.yaml"
    if not config.is_file():
        problem = "holds no config.yaml" if folder.exists() else "does not exist"
        raise RunError(f"{folder} {problem}. Give an OUTPUT_DIR of ct-lesion train.")
    cfg = read_config(str(config), [])
    if cfg.MODEL.META_ARCHITECTURE not in META_ARCH_REGISTRY:
        raise RunError(
            f"{config}: MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} is unknown. Give a "
            "run of ct_lesion."
        )
    evaluations = sorted(p for p in folder.glob("inference/*") if p.is_dir())
    curves, unusable = _read_curves(folder / METRICS_FILE)
    notes = [f"{name}: {unusable} values in {METRICS_FILE} are not numbers and are not drawn."]
    run = Run(
        folder,
        name,
        cfg,
        read_object(folder / TRAINING_RECORD, TRAINING, optional=True),
        curves,
        {p.name: read_segmentation(p) for p in evaluations if is_given(p / RESULTS_FILE)},
        {p.name: read_classification(p) for p in evaluations if is_given(p / PREDICTIONS_FILE)},
        notes if unusable else [],
    )
    if not run.segmentation and not run.classification:
        raise RunError(
            f"{folder} holds no predictions. Evaluate it first: ct-lesion train "
            f"--config-file {config} --eval-only MODEL.WEIGHTS "
            f"{folder / 'model_final.safetensors'}"
        )
    return run


def _read_curves(path: Path) -> tuple[list[dict[str, float]], int]:
    """The numbers in lines of JSON, and the count of values that are not numbers.

    Infinity becomes NaN. Incomplete lines, which a killed process leaves, and lines without an
    iteration are skipped.
    """
    curves, unusable = [], 0
    if is_given(path):
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            line = None
            with contextlib.suppress(ValueError, RecursionError):
                line = json.loads(text)
            if isinstance(line, dict):
                numbers = {key: _number(value) for key, value in line.items() if _is_number(value)}
                unusable += len(line) - len(numbers)
                if math.isfinite(numbers.get("iteration", math.nan)):
                    curves.append(numbers)
    return curves, unusable


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: float) -> float:
    """The value, or NaN if it is too large for a figure."""
    return value if abs(value) < LARGEST_NUMBER else math.nan
