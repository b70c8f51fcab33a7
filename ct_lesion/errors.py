"""Errors that the user can fix, and how tools report them.

Tools print the message of a :class:`UserError`, or of a full or read-only disk, and exit with
code 2. Any other exception is a bug and shows its traceback.
"""

import errno

USER_ERROR = 2  # exit code

_STORAGE = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EFBIG: "the file would exceed the allowed size",
}


class UserError(ValueError):
    """Input that cannot be used; the message says what is wrong, where, and what to do."""


class ConfigError(UserError):
    """An invalid config key, or keys that contradict each other."""


class DatasetError(UserError):
    """Data that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message is one line with the file and what to do."""


def reason(error: BaseException, limit: int = 300) -> str:
    """The first line of an exception, for use inside a one-line message.

    For errors of ITK, which begin with a place in its source, it is the last line; for an exception
    without text, the name of its type.

    Args:
        limit: maximum length of the result in characters.
    """
    system = error.strerror if isinstance(error, OSError) else None  # without number and path
    lines = [line.strip() for line in str(system or error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    line = lines[-1] if "ITK" in lines[0] or "itk::" in lines[0] else lines[0]
    for prefix in ("sitk::ERROR: ", "Error: "):
        line = line.removeprefix(prefix)
    return " ".join(line.split())[:limit].rstrip(". ")


def printable(text: object) -> str:
    """Escape characters that a terminal would interpret.

    Control characters, invisible characters, and bytes of a file name that are not UTF-8 become
    backslash escapes; line breaks and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode()
        for c in str(text)
    )


def one_line(error: Exception) -> str | None:
    """The message for the user instead of a traceback; ``None`` if the error is a bug."""
    if isinstance(error, UserError):
        return printable(error)
    return printable(describe_storage_error(error)) if is_storage_error(error) else None


def is_storage_error(error: BaseException | None) -> bool:
    """Whether a file could not be written because the disk is full or read-only."""
    return isinstance(error, OSError) and error.errno in _STORAGE


def describe_storage_error(error: OSError) -> str:
    """One line that describes a storage error, with the file if it is known."""
    where = f"Cannot write {error.filename}: " if error.filename else ""
    why = _STORAGE.get(error.errno, error.strerror)
    return f"{where or 'Cannot write: '}{why}. Make room, or choose another folder."
