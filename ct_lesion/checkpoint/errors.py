"""What can be wrong with a checkpoint."""

from ct_lesion.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message is one line with the file and what to do."""


def first_line(error: BaseException, limit: int = 200) -> str:
    """An exception's first line, for use inside a one-line message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:limit].rstrip(". ")
