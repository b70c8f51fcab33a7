"""Reading a pickle as data: nothing that it names is imported, called or executed.

``torch.load(weights_only=True)`` cannot read the published checkpoints: it has no place for their
foreign class, and in PyTorch's format of before 2020 refuses the record of any module's class. So
this is a reader of the few pickle operations that a saved dict of tensors consists of. Names in the
pickle are compared with a list and never looked up; a tensor becomes a :class:`TensorRef` that says
where in the file its numbers are.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

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
# opcodes whose argument is the value
INTEGERS = {"BININT", "BININT1", "BININT2", "LONG1", "LONG4"}
STRINGS = {"BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"}
LITERALS = INTEGERS | STRINGS | {"BINFLOAT"}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
TUPLE_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
PLAIN_KEYS = (str, int, float, bool)
LARGEST_PICKLE = 2**21  # bytes; that of a ResNet50 and its optimizer has 200,000


@dataclass(frozen=True)
class GlobalName:
    """A function or class that the pickle names. It is a name only."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass
class StandIn:
    """Takes the place of an object of the foreign class: its attributes, as plain data."""

    attributes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class StorageRef:
    """Numbers in the file: which record, of which type, from which element on, and how many."""

    key: str
    dtype: torch.dtype
    numel: int
    offset: int = 0


@dataclass(frozen=True)
class TensorRef:
    """A view of a storage, in elements, as :meth:`torch.Tensor.as_strided` has it."""

    storage: StorageRef
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickle(
    stream: BinaryIO,
    source: str,
    foreign_class: str = "",
    storages: dict[str, StorageRef] | None = None,
    plain_keys: bool = False,
) -> Any:
    """The next pickle of a stream, which is left behind its end.

    Args:
        stream: bytes with ``read``, ``readline`` and ``tell``; a read beyond the end must be cheap
            (memory, not a plain file), because a damaged pickle asks for any length.
        source: the file's name, for messages.
        foreign_class: objects of any class of this name, whatever its module, become a
            :class:`StandIn`.
        storages: filled with every storage that the pickle refers to, by key.
        plain_keys: refuse dicts whose keys, and sets whose items, are not numbers or strings. By
            default such entries are left out.

    Returns:
        Numbers, strings, tuples, lists, dicts, :class:`TensorRef` and :class:`StandIn`.

    Raises:
        CheckpointError: the pickle is damaged, or needs more than that.
    """
    try:
        reader = _Reader(source, foreign_class, {} if storages is None else storages, plain_keys)
        return reader.read(stream)
    except CheckpointError:
        raise
    except Exception as error:  # damaged bytes fail anywhere, in any way
        raise CheckpointError(
            f"{source} is damaged or not a PyTorch checkpoint ({reason(error)}): get the file "
            "again."
        ) from error


class _Reader:
    """A stack machine for the pickle operations of a saved state dict."""

    def __init__(
        self, source: str, foreign_class: str, storages: dict[str, StorageRef], plain_keys: bool
    ) -> None:
        self.source = source
        self.foreign_class = foreign_class
        self.storages = storages
        self.plain_keys = plain_keys
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def read(self, stream: BinaryIO) -> Any:
        start = stream.tell()
        for opcode, argument, position in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self.stack.pop()
            if position - start > LARGEST_PICKLE:  # a byte of it can take 64 of memory
                raise ValueError("its pickle is too long for names and shapes")
            self._step(opcode.name, argument)
        raise ValueError("the pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in LITERALS:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name]())
        elif name in TUPLE_LENGTHS:
            length = TUPLE_LENGTHS[name]
            stack[-length:] = [tuple(stack[-length:])]
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        else:
            raise self._refusal(f"uses the pickle operation {name}")

    def _refusal(self, what: str) -> CheckpointError:
        return CheckpointError(
            f"{self.source} was not loaded, because it {what}, which a checkpoint of weights does "
            "not need and which may run a program. If you trust it, load it where it was written "
            "and torch.save its weights alone, a dict of tensors."
        )

    # ---- operations -----------------------------------------------------------------------------
    def mark(self, _: None) -> None:
        self.marks.append(len(self.stack))

    def pop_marked(self) -> list:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def ignore(self, _: object) -> None:
        pass

    def marked_tuple(self, _: None) -> None:
        self.stack.append(tuple(self.pop_marked()))

    def append(self, _: None) -> None:
        self._extend([self.stack.pop()])

    def appends(self, _: None) -> None:
        self._extend(self.pop_marked())

    def _extend(self, items: list) -> None:
        if type(self.stack[-1]) is not list:
            raise TypeError("items are appended to what is not a list")
        self.stack[-1].extend(items)

    def set_item(self, _: None) -> None:
        items = self.stack[-2:]
        del self.stack[-2:]
        self._update(items)

    def set_items(self, _: None) -> None:
        self._update(self.pop_marked())

    def _update(self, items: list) -> None:
        if type(self.stack[-1]) is not dict:
            raise TypeError("items are set on what is not a dict")
        self.stack[-1].update(self._entries(zip(items[::2], items[1::2], strict=True)))

    def _entries(self, pairs: Iterable[tuple[Any, Any]]) -> dict:
        # hashing a tuple nested a million times deep would overflow the interpreter's own stack
        return {key: value for key, value in pairs if self._is_plain(key)}

    def _is_plain(self, key: Any) -> bool:
        plain = type(key) in PLAIN_KEYS
        if self.plain_keys and not plain:
            raise self._refusal(f"has a key that is a {type(key).__name__}")
        return plain

    def ordered_dict(self, pairs: Iterable = ()) -> dict:
        return self._entries((key, value) for key, value in pairs)

    def as_tuple(self, items: Iterable = ()) -> tuple:
        return tuple(item for item in items if self._is_plain(item) or not self.plain_keys)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: None) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def global_name(self, argument: str) -> None:
        self._push_name(*argument.split(" ", 1))

    def stack_global(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._push_name(str(module), str(name))

    def _push_name(self, module: str, name: str) -> None:
        found = GlobalName(module, name)
        is_storage = module == "torch" and name in STORAGE_DTYPES
        if not (is_storage or str(found) in _CALLS or self._is_foreign(found)):
            raise self._refusal(f"names {found}")
        self.stack.append(found)

    def _is_foreign(self, name: Any) -> bool:
        return type(name) is GlobalName and bool(name.name) and name.name == self.foreign_class

    def call(self, _: None) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if self._is_foreign(function):
            self.stack.append(StandIn())
        elif type(function) is GlobalName and str(function) in _CALLS:
            self.stack.append(_CALLS[str(function)](self, *arguments))
        else:
            raise self._refusal("calls what is not a function")

    def build(self, _: None) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is StandIn:
            target.attributes = state if type(state) is dict else {}
        elif type(target) is not dict:  # an OrderedDict's own attributes are not needed
            raise self._refusal("sets the state of an object")

    def persistent_id(self, _: None) -> None:
        kind, *rest = self.stack.pop()
        if kind == "module" and self._is_foreign(rest[0]):
            self.stack.append(rest[0])  # older PyTorch adds the class's source, unused here
        elif kind == "storage":
            storage = _storage(*rest)
            self.storages[storage.key] = storage
            self.stack.append(storage)
        else:
            raise self._refusal("refers to an object outside the file")


_OPERATIONS: dict[str, Callable[[_Reader, Any], None]] = {
    "PROTO": _Reader.ignore,
    "FRAME": _Reader.ignore,
    "MARK": _Reader.mark,
    "TUPLE": _Reader.marked_tuple,
    "APPEND": _Reader.append,
    "APPENDS": _Reader.appends,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    "BINPUT": _Reader.put,
    "LONG_BINPUT": _Reader.put,
    "MEMOIZE": _Reader.memoize,
    "BINGET": _Reader.get,
    "LONG_BINGET": _Reader.get,
    "GLOBAL": _Reader.global_name,
    "STACK_GLOBAL": _Reader.stack_global,
    "REDUCE": _Reader.call,
    "NEWOBJ": _Reader.call,
    "BUILD": _Reader.build,
    "BINPERSID": _Reader.persistent_id,
}


def _tensor(storage: StorageRef, offset: int, size: tuple, stride: tuple, *_: object) -> TensorRef:
    numbers = (offset, *size, *stride)
    if type(storage) is not StorageRef or not all(type(n) is int and n >= 0 for n in numbers):
        raise TypeError("a tensor without a valid storage, size or stride")
    return TensorRef(storage, offset, tuple(size), tuple(stride))


def _storage(
    kind: GlobalName, key: str, location: str, numel: int, view: tuple | None = None
) -> StorageRef:
    # ``location`` is a device; everything is read to memory. Only older PyTorch writes ``view``.
    _, offset, numel = view or (None, 0, numel)
    if type(key) is not str or type(numel) is not int or type(offset) is not int:
        raise TypeError("a storage without a valid key or size")
    if numel < 0 or offset < 0:
        raise ValueError("a storage of negative size")
    return StorageRef(key, STORAGE_DTYPES[kind.name], numel, offset)


# What a pickle may call, and what is done instead.
_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Reader.ordered_dict,
    "torch._utils._rebuild_tensor_v2": lambda _, *arguments: _tensor(*arguments),
    "torch._utils._rebuild_parameter": lambda _, data, *__: data,
    "torch.Size": lambda _, sizes=(): tuple(sizes),
    "builtins.set": _Reader.as_tuple,
    "__builtin__.set": _Reader.as_tuple,
}
