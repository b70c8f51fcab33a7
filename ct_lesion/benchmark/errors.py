"""Mistakes of someone who measures."""

from ct_lesion.errors import UserError


class BenchmarkError(UserError):
    """A row that does not exist, or an option that cannot be measured with."""
