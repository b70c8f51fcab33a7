"""JSON: reading files from outside, and numbers that JSON cannot hold."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError

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
