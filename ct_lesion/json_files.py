"""JSON files from outside, and values that JSON cannot represent."""

import json
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import UserError
from .zip_files import open_file

NUMBER = "number"  # in a form, see form_problem
KINDS = {dict: "an object", list: "a list"}


def read_json(
    path: str | Path, kind: type, error: type[UserError], advice: str = "Get the file again."
) -> Any:
    """The content of a JSON file.

    Args:
        kind: type of the outermost value, ``dict`` or ``list``.
        error: class of the error to raise.
        advice: the end of its message, what to do.

    Raises:
        UserError: ``error``; the file cannot be read, or its content is damaged or of another kind.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe or device may never end
            raise error(f"{path}: is a folder, a pipe or a device, not a file. {advice}")
        content = json.loads(_text_of(Path(path)))
    except UserError:
        raise
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


def _text_of(path: Path) -> str:
    with open_file(path) as file:
        return file.read().decode("utf-8")


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot represent, by ``None``.

    Args:
        value: number, text, array, list or mapping, at any depth. Arrays and tuples become lists.
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
