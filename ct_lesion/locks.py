"""Locks on outputs: one job at a time writes into a folder.

A lock is an ``flock`` on a hidden file, which also records the host and id of the process that
holds it. The system releases it when that process ends, even if it is killed; the next job reuses
a leftover file. On file systems without ``flock``, the lock holds while the recorded process runs.
On Windows nothing is locked.
"""

import hashlib
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError, is_storage_error

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_held: dict[str, int] = {}  # this process's file handles by path of the lock file


def short_hash(name: str) -> str:
    """A hash of a file name in 16 hexadecimal digits, for names that must not get longer."""
    return hashlib.blake2b(os.fsencode(name), digest_size=8).hexdigest()


@contextmanager
def locked(file: Path, output: Path) -> Iterator[None]:
    """Hold a lock until the block ends.

    Nested blocks of the same process do nothing. Child processes do not inherit the lock.

    Args:
        file: the lock file, which is created here and removed at the end; its folder must exist.
        output: what the lock protects, for the message.

    Raises:
        UserError: another process holds the lock, or the file cannot be created.
    """
    key = os.path.realpath(file)
    if key in _held or fcntl is None:
        yield
        return
    try:
        handle = _take(file, output)
    except OSError as error:
        raise cannot_write(output, error) from None
    _held[key] = handle
    try:
        yield
    finally:
        del _held[key]
        file.unlink(missing_ok=True)  # while locked, so that nobody locks the removed file
        os.close(handle)


@contextmanager
def created_in_use(file: Path) -> Iterator[None]:
    """Create a file and keep it locked, so that :func:`remove_if_unused` leaves it alone."""
    with file.open("xb") as handle:
        if fcntl is None:
            handle.close()  # Windows cannot rename an open file
        else:
            with suppress(OSError):  # the file system has no locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def remove_if_unused(file: Path) -> None:
    """Remove a lock file, temporary file or link, unless a running process uses it."""
    if file.is_symlink() or fcntl is None:
        file.unlink(missing_ok=True)
        return
    with suppress(FileNotFoundError, PermissionError):
        handle = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _lock(handle):
                file.unlink()
        finally:
            os.close(handle)


def cannot_write(output: Path, error: OSError) -> Exception:
    """A UserError for a failed write; a storage error (disk full, read-only) is kept."""
    if is_storage_error(error):
        error.filename = error.filename or str(output)
        return error
    why = error.strerror or error
    return UserError(f"{output} cannot be written to ({why}). Choose another folder.")


def _take(file: Path, output: Path) -> int:
    """Lock a file for this process; returns its handle.

    Raises:
        UserError: another process holds it.
    """
    while True:
        if file.is_symlink():
            file.unlink()
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if not _lock(handle):
                raise UserError(_refusal(_holder(handle), file, output))
            # another process may have removed the file after it was opened here
            if file.exists() and os.path.samestat(os.fstat(handle), file.stat()):
                os.ftruncate(handle, 0)
                os.pwrite(handle, json.dumps(_this_process()).encode(), 0)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # the file system has no locks
        return not _is_alive(_holder(handle))
    return True


def _holder(handle: int) -> dict:
    """The process that a lock file records; empty if the content is damaged."""
    try:
        content = json.loads(os.pread(handle, 1000, 0))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _this_process() -> dict:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _is_alive(holder: dict) -> bool:
    """Whether a recorded process runs; processes on other machines count as running."""
    this, pid = _this_process(), holder.get("pid")
    if not isinstance(pid, int) or pid <= 0 or holder == this:
        return False
    if holder.get("host") != this["host"]:
        return True
    try:
        os.kill(pid, 0)  # only checks the process
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _refusal(holder: dict, file: Path, output: Path) -> str:
    pid, host = holder.get("pid", "unknown"), holder.get("host", "an unknown machine")
    return (
        f"{output} is being written by process {pid} on {host}. Wait until it ends, or choose "
        f"another folder. If no such process exists, delete {file}."
    )


def _forget_locks() -> None:
    """Close the handles in a forked process: they would keep the lock after its holder ended."""
    for handle in _held.values():
        os.close(handle)


if fcntl is not None:
    os.register_at_fork(after_in_child=_forget_locks)
