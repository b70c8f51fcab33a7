"""JSON files from outside, and values that JSON cannot represent."""

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
        kind: type of the outermost value, ``dict`` or ``list``.
        error: class of the error to raise.
        advice: the end of its message, what to do.

    Raises:
        UserError: ``error``; the file cannot be read, or its content is damaged or of another kind.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():  # a pipe or device may never end
            raise error(f"{path}: is a folder, a pipe or a device, not a file. {advice}")
        content = json.loads(Path(path).read_text(encoding="utf-8"))
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
