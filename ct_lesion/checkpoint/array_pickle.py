"""Reads Detectron2's ``.pkl`` checkpoints: pickled dicts of NumPy arrays.

Nothing that the pickle names is imported or run; see :mod:`.restricted_pickle`. Arrays of NumPy 1
and 2 are supported in pickle protocols 2 to 5, including pickles written by Python 2 (Caffe2's
ImageNet models).
"""

import math
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .restricted_pickle import (
    FUNCTIONS,
    LARGEST_PICKLE,
    MOST_SHARED,
    Operations,
    PickleStream,
    Unpickler,
    UnsafeError,
    check_size,
)
from .torch_files import refusing_unsafe

# NumPy's codes of the types that torch has, too; all are read as little-endian
TYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")
BYTES_OPERATIONS = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINUNICODE8")
SHORTEST_DATA = 256  # bytes; strings from this length on count as array data, not as structure


def read_array_pickle(path: Path) -> dict:
    """Read a dict of NumPy arrays, or of dicts of NumPy arrays.

    Args:
        path: path of the file.

    Returns:
        The dict; arrays and NumPy scalars become tensors on the CPU.

    Raises:
        CheckpointError: the file is missing or damaged, its pickle needs more than arrays and plain
            data, it holds no dict, or its arrays are larger than the file.
    """
    with refusing_unsafe(path):
        data = path.read_bytes()
        content = ArrayUnpickler(ArrayStream(data), len(data)).load()
        if type(content) is not dict:
            raise TypeError(f"it holds a {type(content).__name__}, not a dict of weights")
        return {name: _with_tensors(value) for name, value in content.items()}


def _with_tensors(value: Any) -> Any:
    if type(value) is dict:  # the weights, below "model" or "blobs"
        return {name: _tensor_of(entry) for name, entry in value.items()}
    return _tensor_of(value)


def _tensor_of(value: Any) -> Any:
    if type(value) is not _Array:
        return value
    if value.tensor is None:
        raise ValueError("an array has no numbers")
    return value.tensor


class ArrayStream(PickleStream):
    """Bytes of a pickle with arrays; limits everything but the arrays' data."""

    left = LARGEST_PICKLE  # bytes that may still be read

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._count(data if len(data) < SHORTEST_DATA else b"")
        return data

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        self._count(line)
        return line

    def _count(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise ValueError("its pickle is too long for names and shapes")


class _Array:
    """An array; a pickle creates it empty and sets its data later."""

    def __init__(self, tensor: torch.Tensor | None = None) -> None:
        self.tensor = tensor


class _Type:
    """A NumPy type, by its code."""

    def __init__(self, code: str) -> None:
        self.numpy = np.dtype(f"<{code}")


class ArrayUnpickler(Unpickler):
    """Reads one pickle of NumPy arrays; raises as :class:`Unpickler` does."""

    dispatch = Operations(Unpickler.dispatch)

    def __init__(self, stream: PickleStream, size: int) -> None:
        super().__init__(stream, size)
        self.encoding = "latin1"  # Python 2 stores array data as text
        self.functions = ARRAY_FUNCTIONS
        self.text_bytes = MOST_SHARED * size

    def bytes_of(self, data: Any) -> bytes:
        """The bytes of an array's data, which old protocols store as text."""
        if type(data) is str:
            self.text_bytes -= len(data)  # the same text could be encoded many times
            if self.text_bytes < 0:
                raise ValueError("its arrays are larger than the file")
            return data.encode("latin1")
        if type(data) is not bytes:
            raise TypeError("an array's numbers are not bytes")
        return data

    def tensor(self, data: Any, kind: Any, shape: Any, order: str) -> torch.Tensor:
        """Make a tensor from the data, type, shape and order ("C" or "F") of an array."""
        numbers = self.bytes_of(data)
        check_size(shape)
        if type(kind) is not _Type or len(numbers) != math.prod(shape) * kind.numpy.itemsize:
            raise ValueError("an array has an invalid type, or another length than its shape")
        self.tensor_bytes -= len(numbers)
        if self.tensor_bytes < 0:
            raise ValueError("its arrays are larger than the file")
        array = np.frombuffer(numbers, kind.numpy).reshape(shape, order=order)
        return torch.from_numpy(array.copy(order="C"))

    # ---- operations -----------------------------------------------------------------------------
    def _build(self) -> None:
        target = self.stack[-2]
        if type(target) is _Array:
            _version, shape, kind, fortran, data = self.stack.pop()
            if target.tensor is not None:
                raise ValueError("an array has two contents")
            target.tensor = self.tensor(data, kind, shape, "F" if fortran is True else "C")
        elif type(target) is _Type:
            _version, byte_order, *_ = self.stack.pop()
            if byte_order not in ("<", "|", "="):
                raise ValueError("its numbers are big-endian")
        else:
            super()._build()

    def _frame(self) -> None:
        self.read(8)  # skip the frame's length; bytes in a frame are read and counted like others

    def _bytearray(self) -> None:
        # pickle would allocate the declared length before reading
        self.append(self.read(struct.unpack("<Q", self.read(8))[0]))

    for _name in BYTES_OPERATIONS:
        dispatch[getattr(pickle, _name)[0]] = pickle._Unpickler.dispatch[getattr(pickle, _name)[0]]
    del dispatch[pickle.BINPERSID[0]]  # refers to numbers outside the pickle
    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.FRAME[0]] = _frame
    dispatch[pickle.BYTEARRAY8[0]] = _bytearray


# ---- what such a pickle may call; the first argument is its unpickler ----------------------------
def _reconstruct(_: ArrayUnpickler, *__: object) -> _Array:
    return _Array()


def _ndarray(_: ArrayUnpickler, *__: object) -> None:
    raise UnsafeError("calls numpy.ndarray")  # it only names the class that is reconstructed


def _dtype(_: ArrayUnpickler, code: object, *__: object) -> _Type:
    if code not in TYPES:
        raise ValueError(f"an array is of the type {str(code)[:80]}")
    return _Type(code)


def _scalar(unpickler: ArrayUnpickler, kind: object, data: object) -> _Array:
    return _Array(unpickler.tensor(data, kind, (), "C"))


def _frombuffer(
    unpickler: ArrayUnpickler, data: object, kind: object, shape: object, order: object
) -> _Array:
    return _Array(unpickler.tensor(data, kind, shape, "F" if order == "F" else "C"))


def _encode(unpickler: ArrayUnpickler, text: object, encoding: object) -> bytes:
    if type(text) is not str or encoding != "latin1":
        raise UnsafeError("names _codecs.encode")
    return unpickler.bytes_of(text)


def _no_bytes(_: ArrayUnpickler) -> bytes:
    return b""


ARRAY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: f for name, f in FUNCTIONS.items() if not name.startswith("torch.")},
    **{f"numpy.{core}.multiarray._reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _frombuffer for core in ("core", "_core")},
    "numpy.ndarray": _ndarray,
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,  # protocol 2 has no bytes and encodes them from text
    "__builtin__.bytes": _no_bytes,
}
