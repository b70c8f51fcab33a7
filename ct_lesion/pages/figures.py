"""Texts in figures."""

from contextlib import AbstractContextManager

import matplotlib


def plain_texts() -> AbstractContextManager[None]:
    """While it lasts, figures are made and drawn without mathtext.

    Names of runs, classes and files may hold dollar signs.
    """
    return matplotlib.rc_context({"text.parse_math": False})
