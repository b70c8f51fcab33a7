"""The manifest of a predicted scan: a record of its inputs, models, options and versions.

A rerun skips a finished scan if the part under ``made_from`` is unchanged: the same input, weights,
config and options give the same results.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ct_lesion.checkpoint import library_versions
from ct_lesion.engine.run_record import hardware
from ct_lesion.errors import DatasetError, UserError
from ct_lesion.json_files import read_json
from ct_lesion.version import __version__
from ct_lesion.zip_files import file_on_disk, open_file

from .models import TrainedModel

MANIFEST_FILE = "manifest.json"
LIBRARIES = ("numpy", "SimpleITK", "pydicom", "highdicom", "opencv-python", "pycocotools")


def hash_files(files: Sequence[Path]) -> str:
    """SHA-256 of the files' contents in the given order; their names are not hashed.

    Raises:
        DatasetError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files:
        try:
            with open_file(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise DatasetError(
                f"{path} cannot be read ({error.strerror}). Check the file and its permissions."
            ) from None
    return digest.hexdigest()


Stamp = tuple[int, ...]


def stamps_of(files: Sequence[Path]) -> tuple[Stamp | None, ...]:
    """Each file's device, inode, size and times, which change when the file does.

    The stamp of a file in a zip is that of the zip; the stamp of a missing file is ``None``.
    """
    return tuple(_stamp(path) for path in files)


def _stamp(path: Path) -> Stamp | None:
    try:
        state = file_on_disk(path).stat()
    except OSError:
        return None
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def check_unchanged(files: Sequence[Path], stamps: Sequence[Stamp | None], sha256: str) -> None:
    """Check that files did not change between hashing and reading, so that the hash is correct.

    Args:
        files: a scan's files, after reading.
        stamps: their stamps from before hashing.
        sha256: result of :func:`hash_files`.

    Raises:
        DatasetError: a file was changed or replaced in the meantime.
    """
    changed = [path for path, old in zip(files, stamps, strict=True) if _stamp(path) != old]
    if changed and hash_files(files) != sha256:
        raise DatasetError(
            f"{changed[0]} changed while the command ran. Rerun the command when the files are "
            "complete."
        )


def made_from(
    files: Sequence[Path],
    models: Sequence[TrainedModel],
    options: dict[str, Any],
    lost: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything that a scan's results depend on, JSON-ready.

    Args:
        files: the files of the scan.
        models: segmenter and classifier.
        options: the options that change the results.
        lost: messages about unreadable files, which make the scan incomplete.

    Raises:
        DatasetError: a file cannot be read.
    """
    made = {
        "input_sha256": hash_files(files),
        "models": [
            {
                "weights_sha256": model.weights_sha256,
                "config_sha256": model.config_sha256,
                "temperature": model.temperature,
            }
            for model in models
        ],
        "options": options,
        "ct_lesion": __version__,
    }
    if lost:
        made["lost"] = lost
    return json.loads(json.dumps(made))  # lists for tuples, as read from a file


def manifest(
    made: dict[str, Any],
    files: Sequence[Path],
    models: Sequence[TrainedModel],
    arguments: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """The record of a finished scan.

    Args:
        made: the result of :func:`made_from`.
        files: the files of the scan.
        models: segmenter and classifier.
        arguments: the command line's arguments.
        seconds: duration of the prediction.
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
    """The manifest in a scan's folder; ``None`` if it is missing, damaged or not ours."""
    try:
        content = read_json(folder / MANIFEST_FILE, dict, UserError)
    except UserError:
        return None
    return content if isinstance(content.get("made_from"), dict) else None


def _versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # e.g. opencv-python-headless
            versions[name] = "unknown"
    return versions
