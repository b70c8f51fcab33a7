"""Walking folders whose links may lead anywhere, and checks of input files and output folders."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import UserError, reason


def walk_folder(
    root: Path, onerror: Callable[[OSError], None] | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and each folder below it with the names of its files, in sorted order.

    Links to folders are followed, because large archives are often linked into a data folder.
    Links to a folder that was already walked, or that contains ``root``, are not: they would loop,
    or lead to everything beside ``root``.

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
        marker: name of the file that identifies an earlier result.
        what: noun of the result, for the message.
        overwrite: whether an earlier result may be replaced.

    Raises:
        UserError: the folder holds other files, or a result that may not be replaced.
    """
    if not folder.exists():
        return
    is_result = (folder / marker).is_file()
    if not folder.is_dir() or (any(folder.iterdir()) and not is_result):
        raise UserError(f"{folder} exists and is not a {what}. Choose another folder.")
    if is_result and not overwrite:
        raise UserError(
            f"{folder} already holds a {what}. Choose another folder, or replace it with "
            "--overwrite."
        )


def is_given(path: Path) -> bool:
    """Whether a file exists.

    Raises:
        UserError: the path is not a file but a folder, pipe, socket, device or broken link.
    """
    if not os.path.lexists(path):
        return False
    try:
        check_regular(path)
    except OSError as error:
        why = error.strerror or reason(error)
        raise UserError(f"{path} cannot be read ({why}). Replace or remove it.") from None
    return True


def check_regular(path: str | Path) -> None:
    """Refuse anything but a file: reading a pipe may block, and reading a device may never end.

    Raises:
        OSError: the path does not exist, or is a folder, pipe, socket or device.
    """
    mode = os.stat(path).st_mode  # noqa: PTH116
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
