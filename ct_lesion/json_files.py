"""Reading JSON from outside."""

import json
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
