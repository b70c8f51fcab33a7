"""Headers of NIfTI-1 files, changed byte by byte."""

import gzip
import struct
from collections.abc import Iterable
from pathlib import Path

from ct_lesion.scans.volumes.nifti_header import NiftiHeader


def edited(path: Path, **fields: Iterable) -> Path:
    """Change fields in the header of a ``.nii`` file."""
    places = {
        "pixdim": (80, "3f"), "scaling": (112, "2f"), "codes": (252, "2h"), "quatern": (256, "6f"),
        "sform": (280, "12f"), "descrip": (148, "80s"), "magic": (344, "4s"), "length": (0, "i"),
    }  # fmt: skip
    content = bytearray(path.read_bytes())
    for name, value in fields.items():
        offset, code = places[name]
        struct.pack_into(f"<{code}", content, offset, *value)
    path.write_bytes(content)
    return path


def header_of(path: Path) -> NiftiHeader:
    """The header of a ``.nii`` or ``.nii.gz`` file."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return NiftiHeader.read(file)
