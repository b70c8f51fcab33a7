"""Checks that the JSON files of a run have the parts that reports read."""

from numbers import Real
from pathlib import Path
from typing import Any

from ct_lesion.errors import UserError
from ct_lesion.folders import is_given
from ct_lesion.json_files import NUMBER, read_json, schema_problem

ADVICE = "Evaluate the run again with this version of ct_lesion."


class RunError(UserError):
    """A run's folder is incomplete or does not fit another run."""


_PROVENANCE = {
    "device?": str,
    "seed?": int,
    "config_sha256?": str,
    "versions?": {"*": str},
    "hardware?": {"processor": str, "torch_threads": int, "gpus?": [str]},
    "dataset_sha256?": {"*": str},
}
_PATIENTS = {
    "test": dict,
    "shared": [{"train": str, "test": str, "patients": [str]}],
    "not_checked": {"*": str},
}
TRAINING = {
    "seconds": Real,
    "preparation_seconds?": Real,
    "config?": str,
    "trained_on?": [str],
    "patients?": _PATIENTS,
    "changed_on_resume?": [{"iteration": int, "keys": {"*": list}}],
    "stopped_early?": str,
    **_PROVENANCE,
}
EVALUATION = {"dataset?": str, "image_root?": str, "weights_sha256?": str, **_PROVENANCE}
_AP = {"AP": NUMBER, "AP50": NUMBER, "AP75": NUMBER, "*": NUMBER}
SEGMENTATION = {
    "segm": _AP,
    "bbox": _AP,
    "paper_table_2": {"score_threshold": Real, "coco": _AP, "release": _AP},
    "lesions": {"lesions": int, "found": int, "false": int},
    "patients": {"*": {"slices": int, "AP": NUMBER, "AP50": NUMBER, "AP75": NUMBER}},
    "max_detections?": int,
}
CLASSIFICATION = {
    "classes": [str],
    "metrics": {"accuracy": Real, "*": NUMBER},
    "undefined": {"*": str},
}


def read_object(path: Path, schema: dict, optional: bool = False) -> dict:
    if optional and not is_given(path):
        return {}
    content = read_json(path, dict, RunError, ADVICE)
    check_schema(path, content, schema)
    return content


def check_schema(path: Path, content: Any, schema: Any) -> None:
    """Check the content of a file against a schema, see :func:`schema_problem`.

    Raises:
        RunError: names the file and the first part that is missing or does not match.
    """
    problem = schema_problem(content, schema)
    if problem:
        raise RunError(f"{path}: is damaged ({problem}). {ADVICE}")
