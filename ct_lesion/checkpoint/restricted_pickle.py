"""Reads files of ``torch.save`` as plain data; nothing that their pickle names is imported or run.

``torch.load(weights_only=True)`` cannot read the published checkpoints, whose pickle holds an
object of a foreign class. With another unpickler, ``torch.load`` still parses the zip archive by
itself: a file with two central directories shows harmless records to :mod:`zipfile`, where they are
checked, and TorchScript to torch, which then runs it. So the records are read here by the parser
that checked them. Formats: ``torch/serialization.py``; a zip archive since PyTorch 1.6, before that
a sequence of pickles followed by the numbers ("legacy").
"""

import functools
import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch

from ct_lesion.errors import CheckpointError, reason

STORAGE_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
# the operations that a saved dict of tensors needs; REDUCE, BUILD etc. are redefined below
OPERATIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"),
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL"),
    *("EMPTY_DICT", "BINPERSID"),
)
LARGEST_PICKLE = 2**21  # bytes; a ResNet50 with its optimizer has 200,000; 1 can take 64 of memory
MOST_SHARED = 2  # tensors may share a storage (tied weights), but not many times over
MOST_DIMENSIONS = 64  # torch's own limit
LARGEST_KEY = 2**60  # larger integers can have equal hashes, which makes a dict quadratic
ZIP_START = b"PK\x03\x04"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class StandIn:
    """Stands for an object of the foreign class; its attributes are plain data."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict = {}


def read_torch_file(path: Path, *, foreign_class: str = "", device: str = "cpu") -> Any:
    """Read a file of ``torch.save``, in either of its formats.

    Args:
        path: the file.
        foreign_class: objects of any class of this name, whatever its module, become a
            :class:`StandIn`. Entries of dicts and sets whose keys are not numbers or strings, such
            as the foreign object's caches, are then left out instead of refused.
        device: ``"cpu"``, or ``"meta"`` to read names and shapes without the numbers.

    Returns:
        Numbers, strings, tuples, lists, dicts, sets, tensors and stand-ins. A parameter becomes a
        tensor, an ``OrderedDict`` a dict.

    Raises:
        CheckpointError: the file is missing, damaged or not written by ``torch.save``; its pickle
            needs anything else; a record is compressed or repeated; a tensor lies outside its
            storage; or all tensors together are larger than the file explains.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP_START)) == ZIP_START
            file.seek(0)
            read = _read_zip if is_zip else _read_legacy
            return read(file, path.stat().st_size, device, foreign_class)
    except OSError as error:
        raise CheckpointError(f"Cannot read {path}: {reason(error)}.") from error
    except _UnsafeError as error:
        raise CheckpointError(
            f"{path} was not loaded: its pickle {error}, which weights do not need and which could "
            "run a program. If you trust the file, load it where it was written and torch.save "
            "only its weights, a dict of tensors."
        ) from error
    except Exception as error:  # damaged bytes fail anywhere, in any way
        raise damaged(path, reason(error)) from error


def damaged(path: Path, what: str) -> CheckpointError:
    """The error of a checkpoint whose bytes or content cannot be used."""
    return CheckpointError(
        f"{path} is truncated, damaged or not a PyTorch checkpoint ({what}): get the file again, "
        "or use an earlier one."
    )


class _UnsafeError(Exception):
    """A pickle needs more than data; the text continues "its pickle ..."."""


@dataclass(frozen=True)
class _Storage:
    """A tensor's storage: ``numbers`` is one-dimensional and contiguous."""

    numbers: torch.Tensor


class _Operations(dict):
    def __missing__(self, code: int) -> Callable:
        operation = pickletools.code2op.get(chr(code))
        if operation is None:
            raise ValueError("its pickle holds an unknown operation")
        raise _UnsafeError(f"uses the operation {operation.name}")


# The C unpickler cannot be restricted by operation, and hashes a key that is nested a million
# tuples deep, which overflows the interpreter's stack.
class _Unpickler(pickle._Unpickler):
    dispatch = _Operations(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in OPERATIONS)
    )

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        device: str = "cpu",
        foreign_class: str = "",
        fill: Callable[[str, torch.Tensor], None] | None = None,
    ) -> None:
        """
        Args:
            size: bytes of the whole file, which bound its tensors.
            device, foreign_class: see :func:`read_torch_file`.
            fill: reads the numbers of a storage's key into a tensor, when it is first named.
        """
        super().__init__(stream, encoding="utf-8")
        self.device = device
        self.foreign_class = foreign_class
        self.fill = fill
        self.storages: dict[str, torch.Tensor] = {}
        self.storage_bytes = size
        self.tensor_bytes = MOST_SHARED * size
        self.items = LARGEST_PICKLE

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a name; the name itself is never imported."""
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        if name and name == self.foreign_class:
            return StandIn
        function = FUNCTIONS.get(f"{module}.{name}")
        if function is None:
            raise _UnsafeError(f"names {module[:80]}.{name[:80]}")
        return functools.partial(function, self)

    def persistent_load(self, reference: Any) -> Any:
        """The storage that a tensor refers to."""
        kind, *rest = reference
        if kind == "module" and rest[0] is StandIn:
            return StandIn  # legacy files add the source of the class, which is not needed
        if kind != "storage":
            raise _UnsafeError("refers to an object outside the file")
        # the location is a device; only legacy files have views: their key, offset and length
        dtype, key, _location, numel, *view = rest
        if type(dtype) is not torch.dtype or type(key) is not str or not _are_sizes(numel):
            raise TypeError("a storage has no valid type, key or length")
        numbers = self._storage(key, dtype, numel)
        if view and view[0] is not None:
            _, offset, length = view[0]
            numbers = numbers.narrow(0, offset, length)
        return _Storage(numbers)

    def _storage(self, key: str, dtype: torch.dtype, numel: int) -> torch.Tensor:
        if key not in self.storages:
            self.storage_bytes -= numel * dtype.itemsize
            if self.storage_bytes < 0:
                raise ValueError("its storages are larger than the file")
            self.storages[key] = torch.empty(numel, dtype=dtype, device=self.device)
            if self.fill:
                self.fill(key, self.storages[key])
        numbers = self.storages[key]
        if numbers.dtype != dtype or numbers.numel() != numel:
            raise ValueError(f"storage {key[:80]} has two types or lengths")
        return numbers

    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or not callable(function):
            raise _UnsafeError("calls what is not a function")
        self.append(function(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is StandIn:
            target.attributes = state if type(state) is dict else {}
        elif type(target) is not dict:  # the attributes of an OrderedDict are not needed
            raise _UnsafeError("sets the state of an object")

    def _set_item(self) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._update(items)

    def _set_items(self) -> None:
        self._update(self.pop_mark())

    def _update(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise TypeError("items are set on what is not a dict")
        target.update((k, v) for k, v in zip(items[::2], items[1::2], strict=True) if self.keep(k))

    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _call
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items

    def keep(self, key: Any) -> bool:
        """Whether a key of a dict, or an item of a set, is a number or a string.

        Each key counts: the same long list could be made into a dict many times over.
        """
        self.items -= 1
        if self.items < 0:
            raise ValueError("its pickle has too many items")
        if type(key) in (str, float, bool) or (type(key) is int and abs(key) < LARGEST_KEY):
            return True
        if not self.foreign_class:
            raise _UnsafeError(f"has a key that is a {type(key).__name__}, not a number or text")
        return False


# ---- functions that a pickle may call; each takes the unpickler and the pickle's arguments --------
def _ordered_dict(unpickler: _Unpickler, pairs: list | tuple = ()) -> dict:
    return {key: value for key, value in _listed(pairs) if unpickler.keep(key)}


def _set(unpickler: _Unpickler, items: list | tuple = ()) -> set:
    return {item for item in _listed(items) if unpickler.keep(item)}


def _size(_: _Unpickler, sizes: tuple = ()) -> tuple:
    if type(sizes) is not tuple or len(sizes) > MOST_DIMENSIONS or not _are_sizes(*sizes):
        raise TypeError("a size is not a tuple of numbers")
    return sizes


def _tensor(
    unpickler: _Unpickler, storage: _Storage, offset: int, size: tuple, stride: tuple, *_: object
) -> torch.Tensor:
    _size(unpickler, size)
    _size(unpickler, stride)
    if type(storage) is not _Storage or not _are_sizes(offset):
        raise TypeError("a tensor has no valid storage or offset")
    numbers, numel = storage.numbers, math.prod(size)
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # more elements than the storage has would repeat numbers: a small file, a huge tensor
    if numel > numbers.numel() or (numel and offset + last >= numbers.numel()):
        raise ValueError("a tensor is larger than its storage")
    unpickler.tensor_bytes -= numel * numbers.itemsize
    if unpickler.tensor_bytes < 0:
        raise ValueError("its tensors are larger than the file")
    if numel == 0:
        return torch.empty(size, dtype=numbers.dtype, device=numbers.device)
    return numbers.as_strided(size, stride, numbers.storage_offset() + offset)


def _listed(items: Any) -> list | tuple:
    if type(items) not in (list, tuple):
        raise TypeError("a container is made of what is not a list")
    return items


def _are_sizes(*numbers: Any) -> bool:
    return all(type(n) is int and 0 <= n < 2**63 for n in numbers)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,  # in protocol 2, which torch.save uses
    "torch.Size": _size,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda _, tensor, *__: tensor,
}


# ---- the two formats ------------------------------------------------------------------------------
def _read_zip(file: BinaryIO, size: int, device: str, foreign_class: str) -> Any:
    with zipfile.ZipFile(file) as archive:
        folder = _check_records(archive)

        def fill(key: str, numbers: torch.Tensor) -> None:
            with archive.open(f"{folder}/data/{key}") as record:
                _read_numbers(record, numbers)
                if record.read(1):
                    raise ValueError(f"storage {key[:80]} is shorter than its record")

        stream = io.BytesIO(archive.read(f"{folder}/data.pkl"))
        numbers_from = fill if device == "cpu" else None
        return _Unpickler(stream, size, device, foreign_class, numbers_from).load()


def _check_records(archive: zipfile.ZipFile) -> str:
    """Refuse records that torch.save does not write; return the folder that they are in."""
    names = archive.namelist()
    if len(set(names)) != len(names):
        raise ValueError("two records have the same name")
    for info in archive.infolist():
        # torch.save never compresses, and a compressed record could unfold to any size
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"record {info.filename[:80]} is compressed")
    pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("a zip file, but not of torch.save")
    folder = pickles[0].partition("/")[0]
    if f"{folder}/byteorder" in names and archive.read(f"{folder}/byteorder") != b"little":
        raise ValueError("its numbers are big-endian")
    if archive.getinfo(pickles[0]).file_size > LARGEST_PICKLE:
        raise ValueError("its pickle is too long for names and shapes")
    return folder


def _read_legacy(file: BinaryIO, size: int, device: str, foreign_class: str) -> Any:
    # from memory, because a damaged pickle asks a file for any length
    stream = io.BytesIO(file.read(LARGEST_PICKLE))
    if _Unpickler(stream, size).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin as one")
    if _Unpickler(stream, size).load() != LEGACY_PROTOCOL:
        raise ValueError("unknown version of the format")
    if not _Unpickler(stream, size).load().get("little_endian", True):
        raise ValueError("its numbers are big-endian")
    unpickler = _Unpickler(stream, size, device, foreign_class)
    content = unpickler.load()
    keys = _Unpickler(stream, size).load()
    if sorted(keys) != sorted(unpickler.storages):
        raise ValueError("storages are missing")
    file.seek(stream.tell())
    for key in keys if device == "cpu" else ():
        (count,) = struct.unpack("<q", file.read(8))
        if count != unpickler.storages[key].numel():
            raise ValueError(f"storage {key[:80]} has another length")
        _read_numbers(file, unpickler.storages[key])
    return content


def _read_numbers(file: IO[bytes], numbers: torch.Tensor) -> None:
    view = memoryview(numbers.view(torch.uint8).numpy())
    if file.readinto(view) != len(view):
        raise ValueError("the file ends too early")
