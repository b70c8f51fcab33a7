"""What can be wrong with a user's data."""


class DatasetError(ValueError):
    """Data that cannot be used as it is; the message says what is wrong and what to do."""
