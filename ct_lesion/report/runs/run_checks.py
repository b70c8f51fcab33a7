"""Checks that the JSON files of a run have the parts that reports read."""

from numbers import Real
from pathlib import Path
from typing import Any

from ct_lesion.errors import UserError
from ct_lesion.json_files import read_json

ADVICE = "Evaluate the run again with this version of ct_lesion."


class RunError(UserError):
    """A run's folder is incomplete or does not fit another run."""


# A form describes a JSON value: a type; NUMBER, a finite number or null; a list with the form of
# its items; or a dict with forms by key. "*" stands for all other keys, and "key?" may be missing.
NUMBER = "number"
_PROVENANCE = {
    "versions?": {"*": str},
    "hardware?": dict,
    "dataset_sha256?": {"*": str},
}
TRAINING = {
    "seconds": Real,
    "preparation_seconds?": Real,
    "config?": str,
    "trained_on?": [str],
    **_PROVENANCE,
}
EVALUATION = {"dataset?": str, "weights_sha256?": str, **_PROVENANCE}
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


def read_object(path: Path, form: dict, optional: bool = False) -> dict:
    if optional and not path.is_file():
        return {}
    content = read_json(path, dict, RunError, ADVICE)
    check_form(path, content, form)
    return content


def check_form(path: Path, content: Any, form: Any) -> None:
    """Compare the content of a file with a form.

    Raises:
        RunError: names the file and the first part that is missing or of another form.
    """
    problem = _problem(content, form, "")
    if problem:
        raise RunError(f"{path}: is damaged ({problem}). {ADVICE}")


def _problem(value: Any, form: Any, place: str) -> str:
    """The first part that does not fit the form; empty if all parts fit."""
    if form == NUMBER:
        fits = value is None or (_is(value, Real) and abs(value) < float("inf"))
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{place or 'it'} is not a list"
        return next(filter(None, (_problem(v, form[0], f"{place} item") for v in value)), "")
    elif isinstance(form, dict):
        return _problem_in_object(value, form, place)
    else:
        fits = _is(value, form)
    return "" if fits else f"{place} is {str(value)[:60]}"


def _problem_in_object(value: Any, form: dict, place: str) -> str:
    if not isinstance(value, dict):
        return f"{place or 'it'} is not an object"
    for key, inner in form.items():
        name = key.rstrip("?")
        keys = [k for k in value if k not in form] if key == "*" else [name]
        for found in keys:
            if found not in value or value[found] is None:
                if key.endswith("?") or (key == "*" and inner == NUMBER):
                    continue
                if found not in value:
                    return f"it has no {place}{'.' if place else ''}{found}"
            if problem := _problem(value[found], inner, f"{place}{'.' if place else ''}{found}"):
                return problem
    return ""


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (isinstance(value, bool) and kind in (Real, int))
