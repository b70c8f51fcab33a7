"""Text in figures."""

from contextlib import AbstractContextManager

import matplotlib


def plain_texts() -> AbstractContextManager[None]:
    """A context in which figures are created and drawn without mathtext.

    Names of runs, classes and files may contain dollar signs.
    """
    return matplotlib.rc_context({"text.parse_math": False})
