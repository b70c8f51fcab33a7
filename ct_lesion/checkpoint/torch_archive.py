"""Tensors out of a file of ``torch.save``, in either of its formats, without unpickling.

PyTorch writes a zip archive since version 1.6, and wrote a sequence of pickles followed by the
numbers before. Formats: ``torch/serialization.py``.
"""

import io
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import torch

from ct_lesion.errors import CheckpointError, reason

from .restricted_pickle import StorageRef, TensorRef, read_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
ZIP_START = b"PK\x03\x04"
MOST_SHARED = 2  # tensors may be views of one storage, e.g. tied weights; not many times over


class TorchArchive(Protocol):
    """An opened file of ``torch.save``."""

    path: Path
    content: Any

    def storage_bytes(self, storage: StorageRef) -> bytes:
        """The bytes of the whole record that a storage refers to."""

    def storage_size(self, storage: StorageRef) -> int:
        """How many they are, without reading them."""

    def close(self) -> None:
        """Close the file."""


def open_torch_archive(
    path: Path, foreign_class: str = "", plain_keys: bool = False
) -> TorchArchive:
    """Open a file of ``torch.save`` and read its pickle, not yet the numbers.

    Args:
        path: the file.
        foreign_class, plain_keys: see :func:`read_pickle`.

    Raises:
        CheckpointError: the file is missing, damaged, not written by ``torch.save``, or its pickle
            holds more than plain data and tensors.
    """
    try:
        if zipfile.is_zipfile(path):
            return _ZipArchive(path, foreign_class, plain_keys)
        with path.open("rb") as file:
            if file.read(len(ZIP_START)) == ZIP_START:
                raise _damaged(path, "a zip archive that was cut off")
        return _LegacyArchive(path, foreign_class, plain_keys)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {reason(error)}.") from error
    except Exception as error:  # damaged bytes fail anywhere, in any way
        raise _damaged(path, reason(error)) from error


def check_torch_file(path: Path) -> None:
    """Refuse a file whose loading could run something, or take much more memory than it is long.

    PyTorch's own loader with ``weights_only`` imports nothing unknown, but it unpacks compressed
    records of any size, and calls functions that make large objects out of small arguments.

    Raises:
        CheckpointError: see :func:`open_torch_archive`; or a record is compressed, or a tensor lies
            outside its storage, or all of them are larger than the file.
    """
    with closing(open_torch_archive(path, plain_keys=True)) as archive:
        total = 0
        for ref in _tensor_refs(archive.content):
            try:
                _check_extent(ref, archive.storage_size(ref.storage))
            except (ValueError, LookupError, struct.error) as error:
                raise _damaged(path, f"a tensor: {reason(error)}") from None
            total += math.prod(ref.size) * ref.storage.dtype.itemsize
    if total > MOST_SHARED * path.stat().st_size:
        raise _damaged(path, "its tensors are larger than the file")


def _tensor_refs(content: Any) -> Iterator[TensorRef]:
    """Every tensor in lists, tuples and dicts; one that is referred to twice comes once."""
    seen: set[int] = set()
    todo = [content]
    while todo:
        item = todo.pop()
        if isinstance(item, TensorRef):
            yield item
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            todo.extend(item.values() if isinstance(item, dict) else item)


def load_tensors(archive: TorchArchive, refs: Mapping[str, TensorRef]) -> dict[str, torch.Tensor]:
    """Read tensors of an archive, each into memory of its own.

    Raises:
        CheckpointError: a tensor lies outside its storage, or its numbers are damaged.
    """
    wanted = sum(math.prod(ref.size) * ref.storage.dtype.itemsize for ref in refs.values())
    if wanted > archive.path.stat().st_size:  # a small file could ask for any amount of memory
        raise _damaged(archive.path, "its tensors are larger than the file")
    records: dict[str, bytearray] = {}
    tensors = {}
    for name, ref in refs.items():
        try:
            if ref.storage.key not in records:
                records[ref.storage.key] = bytearray(archive.storage_bytes(ref.storage))
            tensors[name] = _tensor(ref, records[ref.storage.key])
        except Exception as error:  # damaged bytes fail anywhere, in any way
            raise _damaged(archive.path, f"tensor {name}: {reason(error)}") from error
    return tensors


def _tensor(ref: TensorRef, record: bytearray) -> torch.Tensor:
    storage = ref.storage
    if math.prod(ref.size) == 0:
        return torch.empty(ref.size, dtype=storage.dtype)
    _check_extent(ref, len(record))
    numbers = torch.frombuffer(record, dtype=storage.dtype)
    return numbers.as_strided(ref.size, ref.stride, storage.offset + ref.offset).clone()


def _check_extent(ref: TensorRef, record_size: int) -> None:
    """Whether a tensor lies within its storage, and that within its record of so many bytes."""
    storage = ref.storage
    last = sum((n - 1) * s for n, s in zip(ref.size, ref.stride, strict=True))
    numel = math.prod(ref.size)
    # more elements than the storage has would be copies of one number: a small file, a huge tensor
    if numel > storage.numel or (numel and ref.offset + last >= storage.numel):
        raise ValueError("it is larger than its storage")
    if (storage.offset + storage.numel) * storage.dtype.itemsize > record_size:
        raise ValueError("its numbers are incomplete")


class _ZipArchive:
    def __init__(self, path: Path, foreign_class: str, plain_keys: bool) -> None:
        self.path = path
        self._size = self._unread = path.stat().st_size
        self.file = zipfile.ZipFile(path)
        self.names = set(self.file.namelist())
        self._check_records()
        self.folder = self._find_folder()
        if f"{self.folder}/byteorder" in self.names and self._read("byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        stream = io.BytesIO(self._read("data.pkl"))
        self.content = read_pickle(stream, str(path), foreign_class, plain_keys=plain_keys)

    def close(self) -> None:
        self.file.close()

    def _find_folder(self) -> str:
        found = [n for n in self.names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError("it is a zip file, but not of torch.save")
        return found[0].partition("/")[0]

    def _check_records(self) -> None:
        if len(self.names) != len(self.file.infolist()):
            raise ValueError("it has two records of one name")
        for info in self.file.infolist():
            # torch.save never compresses; a compressed record could unfold to any size
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > self._size:
                raise ValueError(f"its record {info.filename[:80]} is compressed")

    def _read(self, record: str) -> bytes:
        return self.file.read(f"{self.folder}/{record}")

    def storage_size(self, storage: StorageRef) -> int:
        return self.file.getinfo(f"{self.folder}/data/{storage.key}").file_size

    def storage_bytes(self, storage: StorageRef) -> bytes:
        data = self._read(f"data/{storage.key}")
        self._unread -= len(data)
        if self._unread < 0:
            raise ValueError("its records overlap")
        return data


class _LegacyArchive:
    def __init__(self, path: Path, foreign_class: str, plain_keys: bool) -> None:
        self.path = path
        # a map of the file: reading beyond its end costs nothing, whatever length is asked for
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        name = str(path)
        if read_pickle(self.map, name) != LEGACY_MAGIC:
            raise ValueError("it does not begin as one")
        if read_pickle(self.map, name) != LEGACY_PROTOCOL:
            raise ValueError("unknown version of the format")
        if not read_pickle(self.map, name).get("little_endian", True):
            raise ValueError("its numbers are big-endian")
        self.storages: dict[str, StorageRef] = {}
        self.content = read_pickle(self.map, name, foreign_class, self.storages, plain_keys)
        self.order = read_pickle(self.map, name)
        self.start = self.map.tell()
        self.spans: dict[str, tuple[int, int]] | None = None

    def close(self) -> None:
        self.map.close()

    def storage_bytes(self, storage: StorageRef) -> bytes:
        start, stop = self._span(storage)
        return self.map[start:stop]

    def storage_size(self, storage: StorageRef) -> int:
        start, stop = self._span(storage)
        return stop - start

    def _span(self, storage: StorageRef) -> tuple[int, int]:
        if self.spans is None:
            self.spans = self._find_spans()
        return self.spans[storage.key]

    def _find_spans(self) -> dict[str, tuple[int, int]]:
        """Where each storage's bytes are: they follow each other, each after its element count."""
        position, spans = self.start, {}
        for key in self.order:
            (count,) = struct.unpack_from("<q", self.map, position)
            stop = position + 8 + count * self.storages[key].dtype.itemsize
            if count < 0 or stop > len(self.map):
                raise ValueError("the file ends too early")
            spans[key] = (position + 8, stop)
            position = stop
        return spans


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is truncated, damaged or not a PyTorch checkpoint ({reason}): get the file again."
    )
