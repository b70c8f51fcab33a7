"""Unpickles numbers, text, containers and tensors; nothing that a pickle names is imported or run.

``torch.load(weights_only=True)`` cannot read the published checkpoints, whose pickle holds an
object of a foreign class. The standard library's C unpickler cannot be restricted by operation, and
it hashes keys of deeply nested tuples, which overflows the stack. This module therefore extends the
Python implementation.
"""

import functools
import io
import math
import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

STORAGES = {
    **{"DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16},
    **{"LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16},
    **{"CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool},
    **{"BFloat16Storage": torch.bfloat16},
}
# operations that a saved dict of tensors needs; REDUCE, BUILD etc. are redefined below
OPERATIONS = (
    *("PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINFLOAT"),
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET", "GLOBAL", "STACK_GLOBAL"),
    *("EMPTY_DICT", "BINPERSID"),
)
LARGEST_PICKLE = 2**21  # bytes, each up to 64 in memory; a ResNet50 with its optimizer has 200,000
MOST_SHARED = 2  # tensors may share storages (tied weights): together at most twice the file's size
MOST_DIMENSIONS = 64  # torch's own limit
LARGEST_KEY = 2**60  # larger integers can collide, which makes a dict's run time quadratic


class StandIn:
    """Replaces an object of the foreign class; its attributes are plain data."""

    def __init__(self, *_: object) -> None:
        self.attributes: dict = {}


class UnsafeError(Exception):
    """A pickle needs more than data; the message completes the sentence "its pickle ..."."""


@dataclass(frozen=True)
class _Storage:
    """A tensor's storage: ``numbers`` is one-dimensional and contiguous."""

    numbers: torch.Tensor


class PickleStream(io.BytesIO):
    """Bytes of a pickle; unlike in pickle, reading beyond their end is an error."""

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        if size is not None and len(data) < size:
            raise EOFError
        return data

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError
        return line


class Operations(dict):
    """Functions by opcode; all others are refused."""

    def __missing__(self, code: int) -> Callable:
        operation = pickletools.code2op.get(chr(code))
        if operation is None:
            raise ValueError("its pickle holds an unknown operation")
        raise UnsafeError(f"uses the operation {operation.name}")


class Unpickler(pickle._Unpickler):
    """Reads one pickle of a file of ``torch.save``; :meth:`load` leaves the stream at its end.

    Raises (from :meth:`load`):
        UnsafeError: the pickle needs more than data.
        Exception: any class, for damaged bytes.
    """

    dispatch = Operations(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in OPERATIONS)
    )

    def __init__(
        self,
        stream: PickleStream,
        size: int,
        device: str = "cpu",
        foreign_class: str = "",
        fill: Callable[[str, torch.Tensor], None] | None = None,
    ) -> None:
        """
        Args:
            stream: stream of the pickle; :meth:`load` leaves it at the pickle's end.
            size: size of the whole file in bytes, which limits the size of its tensors.
            device, foreign_class: see :func:`ct_lesion.checkpoint.torch_files.read_torch_file`.
            fill: reads the data of a storage by its key when the pickle first refers to it.
        """
        super().__init__(stream, encoding="utf-8")
        self.device = device
        self.foreign_class = foreign_class
        self.fill = fill
        self.storages: dict[str, torch.Tensor] = {}
        self.storage_bytes = size
        self.tensor_bytes = MOST_SHARED * size
        self.items = LARGEST_PICKLE
        self.functions = FUNCTIONS

    def find_class(self, module: str, name: str) -> Any:
        """Our replacement for a name; the name itself is never imported."""
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if name and name == self.foreign_class:
            return StandIn
        function = self.functions.get(f"{module}.{name}")
        if function is None:
            raise UnsafeError(f"names {module[:80]}.{name[:80]}")
        return functools.partial(function, self)

    def persistent_load(self, reference: Any) -> Any:
        """The storage that a tensor refers to."""
        kind, *rest = reference
        if kind == "module" and rest[0] is StandIn:
            return StandIn  # legacy files include the source of the class, which is not needed
        if kind != "storage":
            raise UnsafeError("refers to an object outside the file")
        # the location is a device; only legacy files have views: a key, offset and length
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

    def keeps(self, key: Any) -> bool:
        """Whether to keep a dict's entry or a set's item; only numbers and text are hashed.

        Items are counted, because a pickle can make the same long list into many dicts.
        """
        self.items -= 1
        if self.items < 0:
            raise ValueError("its pickle has too many items")
        if type(key) in (str, float, bool) or (type(key) is int and abs(key) < LARGEST_KEY):
            return True
        if not self.foreign_class:
            raise UnsafeError(f"has a key that is a {type(key).__name__}, not a number or text")
        return False

    # ---- operations that do more in the standard library ----------------------------------------
    def _call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple or not callable(function):
            raise UnsafeError("calls something that is not a function")
        self.append(function(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is StandIn:
            target.attributes = state if type(state) is dict else {}
        elif type(target) is not dict:  # the attributes of an OrderedDict are not needed
            raise UnsafeError("sets the state of an object")

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update([key, value])

    def _set_items(self) -> None:
        self._update(self.pop_mark())

    def _update(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) is not dict:
            raise TypeError("items are set on something that is not a dict")
        target.update((k, v) for k, v in zip(items[::2], items[1::2], strict=True) if self.keeps(k))

    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _call
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items


# ---- what a pickle may call; the first argument is its unpickler ---------------------------------
def _ordered_dict(unpickler: Unpickler, pairs: list | tuple = ()) -> dict:
    return {key: value for key, value in _listed(pairs) if unpickler.keeps(key)}


def _set(unpickler: Unpickler, items: list | tuple = ()) -> set:
    return {item for item in _listed(items) if unpickler.keeps(item)}


def _size(_: Unpickler, sizes: tuple = ()) -> tuple:
    return check_size(sizes)


def check_size(sizes: Any) -> tuple:
    """Check the shape or the strides of a tensor, and return them.

    Raises:
        TypeError: they are not a tuple of non-negative numbers, or too many.
    """
    if type(sizes) is not tuple or len(sizes) > MOST_DIMENSIONS or not _are_sizes(*sizes):
        raise TypeError("a size is not a tuple of numbers")
    return sizes


def _tensor(
    unpickler: Unpickler, storage: _Storage, offset: int, size: tuple, stride: tuple, *_: object
) -> torch.Tensor:
    check_size(size)
    check_size(stride)
    if type(storage) is not _Storage or not _are_sizes(offset):
        raise TypeError("a tensor has no valid storage or offset")
    numbers, numel = storage.numbers, math.prod(size)
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # a tensor with more elements than its storage would make a small file huge in memory
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
        raise TypeError("a container is made from something that is not a list")
    return items


def _are_sizes(*numbers: Any) -> bool:
    return all(type(n) is int and 0 <= n < 2**63 for n in numbers)


# Replacements for all functions that a file of torch.save may name (array_pickle.py has NumPy's).
# Each checks its arguments and builds plain data.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "__builtin__.set": _set,  # in protocol 2, which torch.save uses
    "torch.Size": _size,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": lambda _, tensor, *__: tensor,
}
