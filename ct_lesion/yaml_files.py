"""Reads YAML from outside: plain values only, of limited size.

Detectron2's ``merge_from_file`` falls back to a loader that executes ``!!python/...`` tags, so
files are checked here first.
"""

from pathlib import Path
from typing import Any

import yaml

from ct_lesion.errors import reason

LARGEST_TEXT = 2**18  # characters; a dumped config has some 10,000
MOST_NODES = 5_000  # values with all references within the file followed; Detectron2's has 500
MOST_CHARACTERS = LARGEST_TEXT  # of all texts, references followed
DEEPEST = 10  # lists and mappings within each other; Detectron2's has 5
MOST_FILES = 20  # of a config and all that it builds on, each time that it is read
BASE_KEY = "_BASE_"


def parse_yaml(text: str) -> Any:
    """The value of a yaml text: numbers, text, lists and mappings.

    Raises:
        ValueError: too long, too deep, too large once its references are followed, or a date or
            number that does not exist.
        yaml.YAMLError: not yaml, or with a tag that stands for an object.
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
    """Check a config and its bases.

    Args:
        above: the configs that it is a base of.
        read: all files read so far, in place.
    """
    read.append(path)
    if len(read) > MOST_FILES:
        raise ValueError(f"{path}: the config builds on more than {MOST_FILES} files ({BASE_KEY})")
    if not path.is_file():  # a device would never end
        raise ValueError(f"{path}: no such file")
    try:
        with path.open(encoding="utf-8") as file:
            content = parse_yaml(file.read(LARGEST_TEXT + 1))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {reason(error)}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is not a mapping of keys to values")
    bases = content.get(BASE_KEY, [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or "://" in base:
            raise ValueError(f"{path}: {BASE_KEY} {str(base)[:80]} is not the path of a local file")
        file = path.parent / Path(base).expanduser()
        if file.resolve() in (*above, path.resolve()):
            raise ValueError(f"{path}: {BASE_KEY} {base} leads back to itself")
        _check_file(file, (*above, path.resolve()), read)


def _check_events(text: str) -> None:
    """Refuse what would overflow the stack or memory while it is being read."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.implicit[0]:
            # merged mappings are copied while yaml is read, each time they are merged again
            raise ValueError("it merges mappings (<<), which is not supported: use _BASE_")
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")


def _check_size(value: Any) -> None:
    """Refuse a value that references within yaml make large, as many values or as long texts."""
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
