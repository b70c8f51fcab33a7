"""Reading untrusted YAML: plain values only, of limited size.

Detectron2's ``merge_from_file`` falls back to a loader that executes ``!!python/...`` tags, so
files are checked here first.
"""

from pathlib import Path
from typing import Any

import yaml

from ct_lesion.errors import reason

LARGEST_TEXT = 2**18  # characters; a dumped config has some 10,000
MOST_NODES = 5_000  # values once aliases are expanded; Detectron2's defaults have 500
MOST_CHARACTERS = LARGEST_TEXT  # of all strings once aliases are expanded
DEEPEST = 10  # nested lists and mappings; Detectron2's defaults have 5
MOST_FILES = 20  # a config and its base configs, counted each time they are read
BASE_KEY = "_BASE_"


def parse_yaml(text: str) -> Any:
    """Parse a yaml text of numbers, strings, lists and mappings.

    Raises:
        ValueError: the text is too long, nested too deeply, too large once aliases are expanded, or
            has an impossible date or number.
        yaml.YAMLError: the text is not yaml, or has a tag for an object.
    """
    if len(text) > LARGEST_TEXT:
        raise ValueError(f"it is too long for a config (over {LARGEST_TEXT:,} characters)")
    _check_events(text)
    value = yaml.safe_load(text)
    _check_size(value)
    return value


def check_config_file(path: str | Path) -> None:
    """Check a config and its base configs (``_BASE_``) before Detectron2 reads them.

    Args:
        path: a local file.

    Raises:
        ValueError: names the file that cannot be used.
    """
    _check_file(Path(path), (), [])


def _check_file(path: Path, above: tuple[Path, ...], read: list[Path]) -> None:
    """Check a config and its base configs.

    Args:
        above: the configs that build on this one.
        read: all files read so far; this one and its bases are appended.
    """
    read.append(path)
    if len(read) > MOST_FILES:
        raise ValueError(
            f"{path}: the config builds on more than {MOST_FILES} files ({BASE_KEY}): merge some"
        )
    if not path.is_file():  # reading a device never ends
        raise ValueError(f"{path} does not exist or is not a file. Check the path")
    try:
        with path.open(encoding="utf-8") as file:
            content = parse_yaml(file.read(LARGEST_TEXT + 1))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {reason(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a mapping of keys to values")
    bases = content.get(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise ValueError(f"{path}: {BASE_KEY} {str(base)[:80]} is not the path of a local file")
        file = path.parent / Path(base).expanduser()
        if file.resolve() in (*above, path.resolve()):
            raise ValueError(f"{path}: {BASE_KEY} {base} leads back to itself")
        _check_file(file, (*above, path.resolve()), read)


def _check_events(text: str) -> None:
    """Refuse yaml that would overflow the stack or memory while it is parsed."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            # the parser copies merged mappings, each time they are merged again
            raise ValueError("it merges mappings (<<), which is not supported: use _BASE_")
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")


def _check_size(value: Any) -> None:
    """Refuse a value that aliases expand to too many values or too long strings."""
    todo, characters = [value], 0
    for _ in range(MOST_NODES):
        if not todo or characters > MOST_CHARACTERS:
            break
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
            characters += sum(len(str(key)) for key in item)
        elif isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, str):
            characters += len(item)
    if todo or characters > MOST_CHARACTERS:
        raise ValueError("it is too large")
