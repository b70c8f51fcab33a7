"""Errors that the user can mend, and how tools report them.

Tools print the message of a :class:`UserError`, or of a full or read-only disk, and exit with 2.
Any other exception is a bug and shows its traceback.
"""

import errno

USER_ERROR = 2  # exit code

_STORAGE = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EFBIG: "the file would be larger than is allowed here",
}


class UserError(ValueError):
    """Input that cannot be used; the message says what is wrong, where, and what to do."""


class ConfigError(UserError):
    """A config key, or keys that do not agree."""


class DatasetError(UserError):
    """Data that cannot be used as it is."""


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message is one line with the file and what to do."""


def reason(error: BaseException, limit: int = 300) -> str:
    """The first line of an exception, for use inside a one-line message.

    ITK puts the place in its own source first; of its messages the last line is taken. An exception
    without text gives its type's name.

    Args:
        limit: most characters of the result.
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
    """Text that a terminal cannot take for commands.

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
    reason = _STORAGE.get(error.errno, error.strerror)
    return f"{where or 'Cannot write: '}{reason}. Make room, or choose another folder."
