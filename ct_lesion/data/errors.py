"""What can be wrong with a user's data."""

from ct_lesion.errors import UserError


class DatasetError(UserError):
    """Data that cannot be used as it is; the message says what is wrong and what to do."""
