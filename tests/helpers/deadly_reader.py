"""Readers that kill their process. The module is small, so that new processes import it quickly."""

import os
from pathlib import Path

from ct_lesion.audit.images.facts import ImageFacts


def read_or_die(name: str) -> ImageFacts:
    """Empty facts of a file; ends the process if the name ends in "deadly"."""
    if name.endswith("deadly"):
        os._exit(9)
    return ImageFacts(Path(name))


def name_or_die(name: str) -> str:
    """The name; ends the process like :func:`read_or_die`. Raises ValueError for no name."""
    if not name:
        raise ValueError("no name")
    return str(read_or_die(name).path)
