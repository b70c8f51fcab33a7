"""Reads ``.safetensors`` files: a JSON header, then the data of each tensor.

The safetensors library maps the file into memory, so the process crashes without a message if the
file is truncated meanwhile; here it is read. The library's reader is also quadratic in the number
of tensors.
"""

import json
import struct
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .torch_files import read_numbers

LARGEST_HEADER = 2**25  # bytes; names and shapes take about 60 kB, a config about 10 kB
MOST_TENSORS = 10_000  # a ResNet50 with heads has about 400
METADATA = "__metadata__"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
DTYPES |= {"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8}
DTYPES |= {"U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64}
DTYPES |= {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}


def read_safetensors(
    path: Path, *, weights: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read the tensors and the metadata of a file.

    Args:
        path: path of the file.
        weights: whether to read the tensors; if not, only the header is read.

    Returns:
        The tensors on the CPU and the metadata, both by name.

    Raises:
        ValueError: the header is damaged, too long, or does not fit the file.
        EOFError: the file ends too early.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header, data_size = _read_header(file, path.stat().st_size)
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its metadata contain values that are not text")
        if len(header) > MOST_TENSORS:
            raise ValueError(f"it has {len(header):,} tensors, more than {MOST_TENSORS:,}")
        entries = sorted(_entries(header), key=lambda entry: entry[-1])
        _check_offsets(entries, data_size)
        tensors = {}
        for name, dtype, shape, _ in entries if weights else ():
            tensors[name] = torch.empty(shape, dtype=dtype)
            read_numbers(file, tensors[name].view(-1))
    return tensors, metadata


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header, and the number of bytes after it."""
    start = file.read(8)
    if len(start) < 8:
        raise EOFError("its header is cut off")
    (length,) = struct.unpack("<Q", start)
    if length > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"its header has a length of {length:,} bytes, in a file of {size:,}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique_names)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header, size - 8 - length


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("two entries have the same name")
    return values


Entry = tuple[str, torch.dtype, list[int], tuple[int, int]]
"""Name, type and shape of a tensor, and the offsets where its data begin and end."""


def _entries(header: dict[str, Any]) -> list[Entry]:
    entries = []
    for name, entry in header.items():
        values = entry if isinstance(entry, dict) else {}
        dtype = DTYPES.get(str(values.get("dtype")))
        shape, offsets = values.get("shape"), values.get("data_offsets")
        if dtype is None or not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
            raise ValueError(f"its header has no valid type, shape and offsets of {name[:80]}")
        entries.append((name, dtype, shape, tuple(offsets)))
    return entries


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_offsets(entries: list[Entry], data_size: int) -> None:
    """Check that the tensors' data fill the file without gaps or overlaps."""
    end = 0
    for name, dtype, shape, offsets in entries:
        if offsets != (end, end + prod(shape) * dtype.itemsize):
            raise ValueError(f"its header has offsets of {name[:80]} that do not fit its shape")
        end = offsets[1]
    if end != data_size:
        raise ValueError(f"its header describes {end:,} bytes of data, but it has {data_size:,}")
