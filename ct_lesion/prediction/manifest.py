"""What a prediction was made of and with: the record beside each scan's results.

The part under ``made_from`` decides whether a finished scan can stand when the command is given
again: the same input, weights, configs and options give the same results.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ct_lesion.checkpoint import library_versions
from ct_lesion.engine.run_record import hardware
from ct_lesion.errors import DatasetError

from .models import TrainedModel

MANIFEST_FILE = "manifest.json"
LIBRARIES = ("numpy", "SimpleITK", "pydicom", "highdicom", "opencv-python", "pycocotools")


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 over the contents of files in their order, whatever their names.

    Raises:
        DatasetError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from None
    return digest.hexdigest()


def made_from(
    files: Sequence[Path], models: Sequence[TrainedModel], options: dict[str, Any]
) -> dict[str, Any]:
    """All that a scan's results depend on, as plain values.

    Args:
        files: of the scan.
        models: segmenter and classifier.
        options: of the command, as far as results depend on them.
    """
    made = {
        "input_sha256": hash_files(files),
        "models": [
            {
                "weights_sha256": model.weights_sha256,
                "config_sha256": _hash_config(model),
                "temperature": model.temperature,
            }
            for model in models
        ],
        "options": options,
        "ct_lesion": library_versions()["ct_lesion"],
    }
    return json.loads(json.dumps(made))  # as it comes back from a file: lists for tuples


def _hash_config(model: TrainedModel) -> str:
    """Of the config without what differs from place to place and changes no result."""
    cfg = model.cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = cfg.MODEL.DEVICE = cfg.OUTPUT_DIR = ""
    return hashlib.sha256(cfg.dump().encode()).hexdigest()


def manifest(
    made: dict[str, Any],
    files: Sequence[Path],
    models: Sequence[TrainedModel],
    arguments: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """The record of a finished scan.

    Args:
        made: from :func:`made_from`.
        files: of the scan.
        models: segmenter and classifier.
        arguments: of the command line.
        seconds: that the scan took.
    """
    return {
        "made_from": made,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds,
        "files": [str(path) for path in files],
        "checkpoints": [str(model.path) for model in models],
        "device": str(next(models[0].model.parameters()).device),
        "arguments": list(arguments),
        "hardware": hardware(),
        "versions": {**library_versions(), **_versions()},
    }


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Of a finished scan's folder; ``None`` if there is none, or it is damaged."""
    try:
        content = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _versions() -> dict[str, str]:
    found = {"torch": str(torch.__version__)}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # e.g. another distribution of opencv
            found[name] = "unknown"
    return found
