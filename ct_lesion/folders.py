"""Walking folders from outside, whose links may lead anywhere."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


def walk_folder(
    root: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder at and below a folder with the names of its files, in sorted order.

    Links to folders are followed, because large archives are often linked into a data folder, but
    not to a folder that was walked already, nor to one that contains ``root``: these would never
    end, or take in everything beside it.

    Args:
        onerror: called with the error of each folder that cannot be read.
    """
    seen = set(root.resolve().parents)
    for place, below, names in os.walk(root, followlinks=True, onerror=onerror):
        target = Path(place).resolve()
        if target in seen:
            below.clear()
            continue
        seen.add(target)
        below.sort()
        yield Path(place), sorted(names)
