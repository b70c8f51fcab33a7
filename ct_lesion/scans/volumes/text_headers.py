"""NRRD and MetaImage headers: lines of text that may name separate files with the voxels.

Wrong numbers in a MetaImage header crash ITK, so each line is checked before ITK reads it.
"""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path

from ct_lesion.errors import DatasetError

LONGEST_HEADER = 2**16  # bytes; NRRD and MetaImage headers have about 1,000
MOST_DIMENSIONS = 4
_MOST_DIGITS = 18
# MetaImage keys and their values
_META_TYPES = ("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG")
_META_TYPES += ("LONG_LONG", "ULONG_LONG", "FLOAT", "DOUBLE")
_META_FLAGS = ("BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData")
_META_WHOLE = ("CompressedDataSize", "HeaderSize", "ElementNumberOfChannels")
_META_VECTORS = (
    *("DimSize", "ElementSpacing", "ElementSize", "Offset", "Position", "Origin"),
    "CenterOfRotation",
)
META_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_META_SCALING = {"ElementToIntensityFunctionSlope": "1", "ElementToIntensityFunctionOffset": "0"}
"""Keys that ITK ignores, and the values that mean no scaling."""


def nrrd_names(path: Path) -> list[str]:
    """File names in all ``data file`` lines of any spelling, up to the empty line.

    Raises:
        DatasetError: the file has no NRRD header, or the header has no end.
    """
    with path.open("rb") as file:
        lines = split_lines(file.read(LONGEST_HEADER))
    if not lines[0].startswith("NRRD"):
        raise DatasetError(
            f"{path} cannot be read as a volume (it has no NRRD header). Copy or download it again."
        )
    names: list[str] = []
    for number, line in enumerate(lines):
        if not line:
            return names  # the voxels follow
        key, _, value = line.partition(":")
        if "".join(key.split()).lower() == "datafile":
            names += _named(value, lines[number + 1 :])
    if not names:
        raise DatasetError(
            f"{path} cannot be read as a volume (its header has no end). Copy or download it again."
        )
    return names


def is_compressed_meta(path: Path) -> bool:
    """Whether a MetaImage header declares compressed voxels, in any of ITK's spellings."""
    return meta_header(path)[0].get("CompressedData", "").lower() in ("true", "1")


def meta_names(path: Path) -> list[str]:
    """File names in a MetaImage's ``ElementDataFile``; empty if the file holds the voxels.

    Raises:
        DatasetError: the header is damaged.
    """
    fields, start = meta_header(path)
    with path.open("rb") as file:
        file.seek(start)
        first, *others = split_lines(file.read(LONGEST_HEADER))
    value = re.sub(r"^\w+\s*[=:]", "", first)
    if value.strip().upper() != "LOCAL":
        return _named(value, others)
    if fields.get("HeaderSize", "-1") not in ("0", "-1"):  # ITK would read header as voxels
        raise damaged_meta(
            path, f"HeaderSize = {fields['HeaderSize']}, but ElementDataFile = LOCAL"
        )
    return []


def meta_header(path: Path) -> tuple[dict[str, str], int]:
    """Read and check the fields of a MetaImage.

    Returns:
        The fields, and the byte offset of the line ``ElementDataFile``.

    Raises:
        DatasetError: the header is damaged, or scales the voxels.
    """
    places = _places_of_data_file(path)
    # ITK might use a second occurrence, e.g. inside a comment
    if len(places) != 1 or places[0] > LONGEST_HEADER:
        raise DatasetError(
            f"{path} cannot be read as a volume (its header has ElementDataFile {len(places)} "
            "times, expected once near its start). Write it again."
        )
    with path.open("rb") as file:
        return _checked_meta_fields(path, file.read(places[0])), places[0]


def _places_of_data_file(path: Path) -> list[int]:
    """The byte offsets of ``ElementDataFile`` in a file, at most two.

    The file is not memory-mapped: if it were truncated meanwhile, the process would crash without a
    message.
    """
    word, places, start, kept = b"elementdatafile", [], 0, b""
    with path.open("rb") as file:
        while len(places) < 2 and (chunk := file.read(2**20)):
            content = (kept + chunk).lower()
            places += [start + match.start() for match in re.finditer(word, content)]
            kept = content[-len(word) + 1 :]
            start += len(content) - len(kept)
    return places[:2]


def _checked_meta_fields(path: Path, header: bytes) -> dict[str, str]:
    """Read and check the ``Key = Value`` lines of a MetaImage.

    Args:
        path: file named in error messages.
        header: the file up to ``ElementDataFile``.

    Raises:
        DatasetError: a line is damaged, or the header scales the voxels.
    """
    fields: dict[str, str] = {}
    for text in split_lines(header)[:-1]:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not text.isprintable() or key in fields:
            raise damaged_meta(path, text)
        fields[key] = value
    if fields.get("NDims") not in map(str, range(2, MOST_DIMENSIONS + 1)):
        raise damaged_meta(path, f"NDims = {fields.get('NDims', 'missing')}")
    for key, value in fields.items():
        if not _meta_value_fits(key, value, int(fields["NDims"])):
            raise damaged_meta(path, f"{key} = {value}")
    scaling = [fields.get(key, default) for key, default in _META_SCALING.items()]
    if _numbers(" ".join(scaling)) != [1.0, 0.0]:
        raise DatasetError(
            f"{path}: its header scales the voxels (ElementToIntensityFunctionSlope and Offset are "
            f"{' and '.join(scaling)[:60]}), which is not supported. Save it with scaled voxels "
            "and without these lines."
        )
    for key in ("DimSize", "ElementType"):
        if key not in fields:
            raise damaged_meta(path, f"no {key}")
    return fields


def _meta_value_fits(key: str, value: str, dimensions: int) -> bool:
    if key in _META_VECTORS or key in META_MATRICES:
        numbers = _numbers(value)
        count = dimensions if key in _META_VECTORS else dimensions**2
        fits = numbers is not None and len(numbers) == count
        return fits and (key != "DimSize" or all(n == int(n) and n > 0 for n in numbers))
    if key in _META_FLAGS:
        return value.lower() in ("true", "false", "1", "0")
    if key in _META_WHOLE:
        return value.lstrip("-").isdecimal() and len(value) <= _MOST_DIGITS
    if key == "ElementType":
        return value.removeprefix("MET_").removesuffix("_ARRAY") in _META_TYPES
    return True


def _numbers(value: str) -> list[float] | None:
    try:
        numbers = [float(word) for word in value.split()]
    except ValueError:
        return None
    return numbers if all(map(isfinite, numbers)) else None


def damaged_meta(path: Path, line: str) -> DatasetError:
    """The error for a damaged line of a MetaImage header."""
    return DatasetError(
        f"{path} cannot be read as a volume (its header is damaged: {line[:100]!r}). Correct "
        "the header, or write the file again."
    )


def _named(value: str, lines: list[str]) -> list[str]:
    """File names in a value: a name, a numbered pattern, or LIST with names on the next lines.

    Args:
        lines: the lines after the value.
    """
    value = value.strip()
    if value.split(" ")[0].upper().startswith("LIST"):
        return [line.strip() for line in lines if line.strip()]
    return [value.split(" ")[0] if "%" in value else value]


def split_lines(content: bytes) -> list[str]:
    """The lines of a header, which may end in either kind of line break."""
    return content.decode("latin-1").replace("\r\n", "\n").split("\n")
