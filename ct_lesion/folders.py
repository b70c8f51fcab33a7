"""Files and folders from outside, whose links may lead anywhere."""

import errno
import os
import stat
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


def check_regular(path: str | Path) -> None:
    """Refuse what is not a file: reading a pipe waits for ever, reading a device never ends.

    Raises:
        OSError: it does not exist, or is a folder, a pipe, a socket or a device.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
