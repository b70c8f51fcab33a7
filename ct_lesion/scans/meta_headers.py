"""The text header of a MetaImage, checked before ITK reads it: wrong numbers in it crash ITK."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

from ct_lesion.errors import DatasetError

MOST_DIMENSIONS = 4
_TYPES = ("CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG")
_TYPES += ("LONG_LONG", "ULONG_LONG", "FLOAT", "DOUBLE")
_FLAGS = ("BinaryData", "BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData")
_WHOLE = ("CompressedDataSize", "HeaderSize", "ElementNumberOfChannels")
# how many numbers a key has, for volumes of n dimensions
_LENGTHS = {
    "DimSize": lambda n: n,
    "ElementSpacing": lambda n: n,
    "ElementSize": lambda n: n,
    "Offset": lambda n: n,
    "Position": lambda n: n,
    "Origin": lambda n: n,
    "CenterOfRotation": lambda n: n,
    "TransformMatrix": lambda n: n * n,
    "Rotation": lambda n: n * n,
    "Orientation": lambda n: n * n,
}


def check_meta_header(path: Path, header: bytes) -> None:
    """Check the lines ``Key = Value`` before the one that says where the voxels are.

    Args:
        path: for the message.
        header: the file up to ``ElementDataFile``.

    Raises:
        DatasetError: names the line that cannot be used.
    """
    fields: dict[str, str] = {}
    for line in header.replace(b"\r\n", b"\n").split(b"\n")[:-1]:
        text = line.decode("latin-1")
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not text.isprintable() or key in fields:
            raise _damaged(path, text)
        fields[key] = value
    if not fields.get("NDims", "").isdecimal() or not 2 <= int(fields["NDims"]) <= MOST_DIMENSIONS:
        raise _damaged(path, f"NDims = {fields.get('NDims', 'missing')}")
    for key, value in fields.items():
        if not _fits(key, value, int(fields["NDims"])):
            raise _damaged(path, f"{key} = {value}")
    for key in ("DimSize", "ElementType"):
        if key not in fields:
            raise _damaged(path, f"no {key}")


def _fits(key: str, value: str, dimensions: int) -> bool:
    if key in _LENGTHS:
        numbers = _numbers(value)
        fits = numbers is not None and len(numbers) == _LENGTHS[key](dimensions)
        return fits and (key != "DimSize" or all(n == int(n) and n > 0 for n in numbers))
    if key in _FLAGS:
        return value.lower() in ("true", "false", "1", "0")
    if key in _WHOLE:
        return value.lstrip("-").isdecimal()
    if key == "ElementType":
        return value.removeprefix("MET_").removesuffix("_ARRAY") in _TYPES
    return True


def _numbers(value: str) -> list[float] | None:
    try:
        numbers = [float(word) for word in value.split()]
    except ValueError:
        return None
    return numbers if all(map(isfinite, numbers)) else None


def _damaged(path: Path, line: str) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be read as a volume (its header is damaged at {line[:100]!r})."
    )
