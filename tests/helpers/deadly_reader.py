"""A reader that ends its process, in a small module that new processes import quickly."""

import os
from pathlib import Path

from ct_lesion.audit.images.facts import ImageFacts


def read_or_die(name: str) -> ImageFacts:
    """Empty facts of a file; ends the process if the name ends in "deadly"."""
    if name.endswith("deadly"):
        os._exit(9)
    return ImageFacts(Path(name))


def name_or_die(name: str) -> str:
    """Gives the name back; ends the process as :func:`read_or_die` does; no name is an error."""
    if not name:
        raise ValueError("no name")
    return str(read_or_die(name).path)
