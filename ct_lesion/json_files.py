"""JSON: reading files from outside, and numbers that JSON cannot hold."""

import json
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import UserError

NUMBER = "number"  # in a form, see form_problem
KINDS = {dict: "an object", list: "a list"}


def read_json(
    path: str | Path, kind: type, error: type[UserError], advice: str = "Get the file again."
) -> Any:
    """The content of a JSON file.

    Args:
        kind: ``dict`` or ``list``, what must be outermost.
        error: what is raised if the file cannot be used.
        advice: what to do then.

    Raises:
        UserError: ``error``, with the file's name and what is wrong with it.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as reason:
        raise error(f"{path}: cannot be read ({reason.strerror or reason}). {advice}") from None
    except RecursionError:
        raise error(f"{path}: is damaged (nested too deeply). {advice}") from None
    except (ValueError, MemoryError) as reason:
        raise error(f"{path}: is damaged ({reason}). {advice}") from None
    if not isinstance(content, kind):
        what = type(content).__name__
        raise error(f"{path}: is damaged (holds a {what}, not {KINDS[kind]}). {advice}")
    return content


def without_nan(value: Any) -> Any:
    """The value with ``None`` in place of NaN and infinity, which JSON does not have.

    Args:
        value: a number, text, array, list or mapping, nested as deeply as needed. Arrays and tuples
            become lists.
    """
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy's arrays and numbers
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def form_problem(value: Any, form: Any, place: str = "") -> str:
    """The first part of a JSON value that does not fit a form; empty if all parts fit.

    Args:
        value: content of a file.
        form: a type; :data:`NUMBER`, a finite number or null; a list with the form of its items; or
            a dict with forms by key. "*" stands for all other keys, and "key?" may be missing or
            null.
        place: of the value in the file, for the message.
    """
    if form == NUMBER:
        fits = value is None or (_is(value, Real) and abs(value) < math.inf)
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{place or 'it'} is not a list"
        return next(filter(None, (form_problem(v, form[0], f"{place} item") for v in value)), "")
    elif isinstance(form, dict):
        return _problem_in_object(value, form, place)
    else:
        fits = _is(value, form) and not (form is Real and not abs(value) < math.inf)
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
            if problem := form_problem(
                value[found], inner, f"{place}{'.' if place else ''}{found}"
            ):
                return problem
    return ""


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (isinstance(value, bool) and kind in (Real, int))
