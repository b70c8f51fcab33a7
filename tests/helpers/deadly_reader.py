"""A reader that ends its process, in a module of its own so that a new process has it soon."""

import os
from pathlib import Path

from ct_lesion.audit.images.facts import ImageFacts


def read_or_die(name: str) -> ImageFacts:
    """Facts of a file, unless it is a deadly one."""
    if name.endswith("deadly"):
        os._exit(9)
    return ImageFacts(Path(name))
