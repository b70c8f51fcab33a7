"""A reader that ends its process, in a small module that new processes import quickly."""

import os
from pathlib import Path

from ct_lesion.audit.images.facts import ImageFacts


def read_or_die(name: str) -> ImageFacts:
    """Empty facts of a file; ends the process if the name ends in "deadly"."""
    if name.endswith("deadly"):
        os._exit(9)
    return ImageFacts(Path(name))
