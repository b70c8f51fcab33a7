"""Reading untrusted JSON files, and replacing values that JSON cannot represent."""

import json
import math
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from .errors import UserError
from .zip_files import open_file

NUMBER = "number"  # in a schema, see schema_problem
_KINDS = {dict: "an object", list: "a list"}


def read_json(
    path: str | Path,
    kind: type,
    error: type[UserError],
    advice: str = "Copy or download the file again.",
) -> Any:
    """Read a JSON file.

    Args:
        kind: type of the outermost value, ``dict`` or ``list``.
        error: class of the error to raise.
        advice: the end of its message, what to do.

    Raises:
        UserError: as ``error``; the file cannot be read, is damaged, or holds another kind of
            value.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe or device may never end
            raise error(f"{path} is a folder, a pipe or a device, not a file. {advice}")
        content = json.loads(_text_of(Path(path)))
    except UserError:
        raise
    except FileNotFoundError:
        raise error(f"{path} does not exist. {advice}") from None
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason}). {advice}") from None
    except RecursionError:
        raise error(f"{path} is damaged (nested too deeply). {advice}") from None
    except (ValueError, MemoryError) as reason:
        raise error(f"{path} is damaged ({reason}). {advice}") from None
    if not isinstance(content, kind):
        what = _KINDS.get(type(content), f"a {type(content).__name__}")
        raise error(f"{path} is damaged (holds {what}, not {_KINDS[kind]}). {advice}")
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


def schema_problem(value: Any, schema: Any, place: str = "") -> str:
    """Describe the first part of a JSON value that does not match a schema; empty if all match.

    Args:
        value: content of a file.
        schema: a type; :data:`NUMBER`, a finite number or null; a list with the schema of its
            items; or a dict of schemas by key. "*" stands for all other keys, and "key?" may be
            missing or null.
        place: place of the value in the file, for the message.
    """
    if schema == NUMBER:
        fits = value is None or (_is(value, Real) and abs(value) < math.inf)
    elif isinstance(schema, list):
        if not isinstance(value, list):
            return f"{place or 'it'} is not a list"
        problems = (schema_problem(item, schema[0], f"{place} item") for item in value)
        return next(filter(None, problems), "")
    elif isinstance(schema, dict):
        return _problem_in_object(value, schema, place)
    else:
        fits = _is(value, schema) and not (schema is Real and not abs(value) < math.inf)
    return "" if fits else f"{place} is {str(value)[:60]}"


def _problem_in_object(value: Any, schema: dict, place: str) -> str:
    if not isinstance(value, dict):
        return f"{place or 'it'} is not an object"
    for key, inner in schema.items():
        names = [k for k in value if k not in schema] if key == "*" else [key.rstrip("?")]
        for name in names:
            where = f"{place}.{name}" if place else name
            if value.get(name) is None:
                if key.endswith("?") or (key == "*" and inner == NUMBER):
                    continue
                if name not in value:
                    return f"it has no {where}"
            if problem := schema_problem(value[name], inner, where):
                return problem
    return ""


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not (isinstance(value, bool) and kind in (Real, int))
