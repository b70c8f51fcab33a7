"""Hostile and damaged checkpoints of PyTorch, and pickles of other kinds."""

from __future__ import annotations

import functools
import io
import pickle
import pickletools
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from cases import CANARY, Case, cut, file, flipped, many, variants
from torch_zips import with_two_directories

_100_GB = b"\x8a\x05\x00\x00\x00\x00\x17"  # the number in bytes, pickled


class Call:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def touching() -> list[object]:
    """Objects that create the canary when they are unpickled; readers run in the case's folder."""
    import os
    import subprocess

    return [
        Call(os.system, f"touch {CANARY}"),
        Call(eval, f"open('{CANARY}', 'w')"),
        Call(exec, f"open('{CANARY}', 'w')"),
        Call(subprocess.check_output, ["touch", CANARY]),
        Call(os.mkdir, CANARY),
        Call(io.open, CANARY, "w"),
        Call(functools.reduce, os.mkdir, [CANARY]),
        Call(OrderedDict, [("key", Call(os.mkdir, CANARY))]),
    ]


def model_state(**extra: object) -> dict:
    """The content of a ``.pth`` of the corpus."""
    torch.manual_seed(0)
    names = {"0.weight": (3, 4), "0.bias": (3,), "1.weight": (2, 3), "1.bias": (2,)}
    return {"model": {name: torch.randn(size) for name, size in names.items()}, **extra}


def torch_bytes(content: object, **options: object) -> bytes:
    """``torch.save`` into memory."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def good_torch(legacy: bool = False) -> bytes:
    """The corpus's model as ``.pth``."""
    return torch_bytes(model_state(), _use_new_zipfile_serialization=not legacy)


def _pickles(wrap: Callable[[object], object], **options: object) -> Callable[[Path], list[Path]]:
    return lambda folder: many(
        folder, [torch_bytes(wrap(o), **options) for o in touching()], ".pth"
    )


def _zip(pickled: bytes, **records: bytes) -> Callable[[Path], Path]:
    """A torch file with another pickle in it."""

    def build(folder: Path) -> Path:
        path = folder / "swapped.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/version", b"3\n")
            for name, data in records.items():
                archive.writestr(f"archive/data/{name}", data)
        return path

    return build


def changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], Path]:
    """A ``.pth`` whose weights are changed."""

    def build(folder: Path) -> Path:
        content = model_state()
        change(content["model"])
        (folder / "changed.pth").write_bytes(torch_bytes(content))
        return folder / "changed.pth"

    return build


def _compressed(folder: Path) -> Path:
    """200 MB of zeros in 200 kB."""
    path = folder / "bomb.pth"
    big = torch_bytes({"model": {"0.weight": torch.zeros(50_000_000)}})
    with zipfile.ZipFile(io.BytesIO(big)) as source, zipfile.ZipFile(path, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return path


def _expanded(folder: Path) -> Path:
    path = folder / "expanded.pth"
    path.write_bytes(torch_bytes({"model": {"0.weight": torch.zeros(1).expand(10**6, 10**6)}}))
    return path


NO_WEIGHTS = "not a dict of weights|has no 'model_weights'"
CUT_OFF = "ends too early"


def _hand_made() -> dict[str, tuple[bytes, str]]:
    """Pickles that no library writes, and what the error must say."""
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"]q" + bytes([n]) + b"(" + (b"h" + bytes([n - 1])) * 10 + b"e" for n in range(1, 60)
    )
    text = b"X\x01\x00\x00\x00aX\x03\x00\x00\x00hex"
    nested = b")" + b"\x85" * 100_000
    # such keys are dropped rather than refused, because published checkpoints may hold them
    nested_key = "key that is a tuple|has no 'model_weights'"
    return {
        "GLOBAL os.system": (
            b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R.",
            "names os",
        ),
        "INST": (b"(S'touch canary'\nios\nsystem\n.", "operation STRING"),
        "OBJ": (b"(cos\nsystem\nS'touch canary'\no.", "names os.system"),
        "STACK_GLOBAL": (
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
            "names os",
        ),
        "billion laughs": (laughs + b".", NO_WEIGHTS),
        "memo of 4 GB": (b"\x80\x02Nr\xff\xff\xff\xff.", NO_WEIGHTS),
        "text of 4 GB": (b"\x80\x02X\xff\xff\xff\xffabc.", CUT_OFF),
        "number of 2 GB": (b"\x80\x02\x8b\xff\xff\xff\x7fabc.", CUT_OFF),
        "bytearray of 100 GB": (
            b"\x80\x02c__builtin__\nbytearray\n" + _100_GB + b"\x85R.",
            "names __builtin__.bytearray",
        ),
        "tensor of 100 GB": (
            b"\x80\x02ctorch\nTensor\n" + _100_GB + b"\x85R.",
            "names torch.Tensor",
        ),
        "nested tuples as key": (b"\x80\x02}" + nested + b"K\x01s.", nested_key),
        "nested lists": (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", NO_WEIGHTS),
        "set of nested tuples": (b"\x80\x02c__builtin__\nset\n]" + nested + b"a\x85R.", nested_key),
        "encoded text": (b"\x80\x02c_codecs\nencode\n" + text + b"\x86R.", "names _codecs.encode"),
        "no end": (b"\x80\x02}", CUT_OFF),
        "empty": (b"", CUT_OFF),
        "extension": (b"\x80\x02\x82\x01.", "operation EXT1"),
        "two million dicts": (b"\x80\x02(" + b"}" * 2_200_000 + b"t.", "too long"),
        "a list made into dicts 100,000 times": (
            b"\x80\x02("
            + b"K\x01K\x01\x86" * 50_000
            + b"tq\x00("
            + b"ccollections\nOrderedDict\nh\x00\x85R" * 50_000
            + b"t.",
            "too many items",
        ),
    }


SPECIAL = r"names torch\.(_utils._rebuild_sparse|ComplexFloat)"
CASES = [
    Case("foreign pickle", "weights", file("model.pickle", pickle.dumps({})), "Convert it"),
    Case("pickle in capitals", "weights", file("MODEL.PICKLE", pickle.dumps({})), "Convert it"),
    Case("pickle of pycls", "weights", file("model.pyth", torch_bytes({})), "Convert it"),
    Case("pickle named pth", "weights", file("model.pth", pickle.dumps(touching()[0])), "names"),
    Case("calls", "weights", _pickles(lambda o: {"model": o}), "names"),
    Case(
        "calls in legacy files",
        "weights",
        _pickles(lambda o: {"model": o}, _use_new_zipfile_serialization=False),
        "names",
    ),
    Case("calls beside weights", "weights", _pickles(lambda o: model_state(epoch=o)), "names"),
    Case("calls", "convert", _pickles(lambda o: {"model_weights": o}), "names"),
    *(
        Case(f"pickle with {name}", entry, _zip(data), match)
        for name, (data, match) in _hand_made().items()
        for entry in ("weights", "convert")
    ),
    Case("counter", "weights", file("c.pth", torch_bytes({"model": Counter("ab")})), "names"),
    Case("two directories", "weights", file("a.pth", with_two_directories()), "no weights"),
    Case("two directories", "convert", file("a.pth", with_two_directories()), "model_weights"),
    Case("compressed records", "weights", _compressed, "compressed"),
    Case("compressed records", "convert", _compressed, "compressed"),
    Case("tensor of 4 TB over 4 bytes", "weights", _expanded, "larger than"),
    Case("NaN", "weights", changed(lambda m: m["0.weight"].fill_(torch.nan)), "0.weight"),
    Case("infinity", "weights", changed(lambda m: m["1.bias"].fill_(torch.inf)), r"bias \(2 of"),
    Case(
        "other shapes",
        "weights",
        changed(lambda m: m.update({n: torch.ones(7, 7) for n in m})),
        "does not fit",
    ),
    Case(
        "other names",
        "weights",
        changed(lambda m: (m.clear(), m.update(a=torch.ones(1)))),
        "does not fit",
    ),
    Case("text for weights", "weights", changed(lambda m: m.update({"0.bias": "x"})), "0.bias"),
    Case(
        "numbers for names", "weights", changed(lambda m: m.update({5: torch.ones(1)})), "entry 5"
    ),
    Case(
        "sparse",
        "weights",
        changed(lambda m: m.update({"0.bias": torch.ones(3).to_sparse()})),
        SPECIAL,
    ),
    Case(
        "complex", "weights", changed(lambda m: m.update({"0.bias": torch.ones(3) * 1j})), SPECIAL
    ),
    Case("a list", "weights", file("list.pth", torch_bytes([1, 2])), "holds a list"),
    variants("truncated", "weights", cut(good_torch()), ".pth", "not a zip file|ends too early"),
    variants("truncated legacy", "weights", cut(good_torch(legacy=True)), ".pth", "ends too early"),
    variants(
        "flipped",
        "weights",
        flipped(good_torch()),
        ".pth",
        "damaged",
        mixed="padding and dates of the zip are not read",
    ),
    variants(
        "flipped legacy",
        "weights",
        flipped(good_torch(legacy=True)),
        ".pth",
        "damaged|operation",
        mixed="weights have no checksum",
    ),
    Case(
        "torchvision's with other bytes",
        "weights",
        file("resnet18-f37072fd.pth", torch_bytes(model_state())),
        "SHA-256",
    ),
    variants(
        "opcodes at random",
        "weights",
        [
            b"\x80\x02" + bytes(ord(o.code) for o in pickletools.opcodes[n:])
            for n in range(0, 60, 5)
        ],
        ".pth",
        "damaged|operation",
    ),
]
