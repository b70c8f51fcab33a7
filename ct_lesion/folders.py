"""Folders from outside: walking them, whose links may lead anywhere, and replacing them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import UserError


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


def check_replaceable(folder: Path, marker: str, what: str, overwrite: bool) -> None:
    """Check that a folder may be replaced as a whole: it is new, empty, or an earlier result.

    Args:
        marker: name of the file by which an earlier result is known.
        what: noun of the result, for the message.
        overwrite: whether an earlier result may be replaced.

    Raises:
        UserError: the folder holds other files, or a result that may not be replaced.
    """
    if not folder.exists():
        return
    is_result = (folder / marker).is_file()
    if not folder.is_dir() or (any(folder.iterdir()) and not is_result):
        raise UserError(f"{folder}: exists and is not a {what}. Choose another folder.")
    if is_result and not overwrite:
        raise UserError(
            f"{folder}: already holds a {what}. Choose another folder, or replace it with "
            "--overwrite."
        )
