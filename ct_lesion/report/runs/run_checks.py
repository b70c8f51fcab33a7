"""Reads the JSON files of a run, and checks the parts that reports use."""

from numbers import Real
from pathlib import Path

from ct_lesion.errors import UserError
from ct_lesion.folders import is_given
from ct_lesion.json_files import NUMBER, read_json, schema_problem

ADVICE = "Evaluate the run again with this version of ct_lesion."


class RunError(UserError):
    """A run's folder is incomplete, or the run cannot be reported with the others."""


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
    """Read a JSON object and check it against a schema, see :func:`schema_problem`.

    Args:
        optional: return an empty object if the file is missing.

    Raises:
        RunError: the file is missing or damaged, or does not match the schema.
    """
    if optional and not is_given(path):
        return {}
    content = read_json(path, dict, RunError, ADVICE)
    problem = schema_problem(content, schema)
    if problem:
        raise RunError(f"{path} is damaged ({problem}). {ADVICE}")
    return content
