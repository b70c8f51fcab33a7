"""Hostile and damaged checkpoints."""

from __future__ import annotations

import functools
import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from cases import CANARY, HARMLESS, Case, cut, file, flipped, many
from config_cases import TAGS, YAML_LAUGHS, YAML_MERGES
from safetensors.torch import save

_100_GB = b"\x8a\x05\x00\x00\x00\x00\x17"  # the number in a pickle


class Call:
    """Pickles as a call of a function, made when the pickle is read."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        return self.call


def touching() -> list[object]:
    """Objects that leave a file when they are unpickled; readers run in the case's folder."""
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
    """What a ``.pth`` of the corpus holds."""
    torch.manual_seed(0)
    names = {"0.weight": (3, 4), "0.bias": (3,), "1.weight": (2, 3), "1.bias": (2,)}
    return {"model": {name: torch.randn(size) for name, size in names.items()}, **extra}


def torch_bytes(content: object, **options: object) -> bytes:
    """``torch.save`` into memory."""
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


def good_torch(legacy: bool = False) -> bytes:
    """A ``.pth`` of the corpus's model."""
    return torch_bytes(model_state(), _use_new_zipfile_serialization=not legacy)


def good_safetensors() -> bytes:
    """The same as ``.safetensors``, which describes itself."""
    return save(model_state()["model"], {"format_version": "1", "config": "{}"})


def _pickles(wrap: Callable[[object], object], **options: object) -> Callable[[Path], list[Path]]:
    return lambda folder: many(
        folder, [torch_bytes(wrap(o), **options) for o in touching()], ".pth"
    )


def _zip(pickled: bytes, **records: bytes) -> Callable[[Path], Path]:
    """A torch file with a pickle of one's own in it."""

    def build(folder: Path) -> Path:
        path = folder / "swapped.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/version", b"3\n")
            for name, data in records.items():
                archive.writestr(f"archive/data/{name}", data)
        return path

    return build


def _changed(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], Path]:
    """A good ``.pth`` but for a change of its weights."""

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


def _hand_made() -> dict[str, bytes]:
    """Pickles that no library writes."""
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"]q" + bytes([n]) + b"(" + (b"h" + bytes([n - 1])) * 10 + b"e" for n in range(1, 60)
    )
    return {
        "GLOBAL os.system": b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R.",
        "INST": b"(S'touch canary'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\nS'touch canary'\no.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R.",
        "billion laughs": laughs + b".",
        "memo of 4 GB": b"\x80\x02Nr\xff\xff\xff\xff.",
        "text of 4 GB": b"\x80\x02X\xff\xff\xff\xffabc.",
        "number of 2 GB": b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
        "bytearray of 100 GB": b"\x80\x02c__builtin__\nbytearray\n" + _100_GB + b"\x85R.",
        "tensor of 100 GB": b"\x80\x02ctorch\nTensor\n" + _100_GB + b"\x85R.",
        "nested tuples as key": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.",
        "nested lists": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        "set of nested tuples": b"\x80\x02c__builtin__\nset\n])" + b"\x85" * 100_000 + b"a\x85R.",
        "encoded text": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
        "no end": b"\x80\x02}",
        "empty": b"",
        "extension": b"\x80\x02\x82\x01.",
        "two million dicts": b"\x80\x02(" + b"}" * 2_200_000 + b"t.",
    }


def _safetensors(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _tensor_header(**entry: object) -> bytes:
    return json.dumps({"0.weight": {"dtype": "F32", "shape": [2], **entry}}).encode()


def _described(config: str = "{}", **description: str) -> Callable[[Path], Path]:
    """A checkpoint that describes itself so."""
    metadata = {"format_version": "1", "config": config, **description}

    def build(folder: Path) -> Path:
        path = folder / "described.safetensors"
        path.write_bytes(save(model_state()["model"], metadata))
        return path

    return build


SEGMENTER = "MODEL: {META_ARCHITECTURE: GeneralizedRCNN, MASK_ON: true, "
WEIGHTS = [
    Case("foreign pickle", "weights", file("model.pkl", pickle.dumps({})), "Convert it"),
    Case("pickle in capitals", "weights", file("MODEL.PKL", pickle.dumps({})), "Convert it"),
    Case("pickle of pycls", "weights", file("model.pyth", torch_bytes({})), "Convert it"),
    Case("pickle named pth", "weights", file("model.pth", pickle.dumps(touching()[0]))),
    Case("calls", "weights", _pickles(lambda o: {"model": o}), "names"),
    Case(
        "calls in legacy files",
        "weights",
        _pickles(lambda o: {"model": o}, _use_new_zipfile_serialization=False),
        "names",
    ),
    Case("calls beside weights", "weights", _pickles(lambda o: model_state(epoch=o)), "names"),
    Case("calls", "convert", _pickles(lambda o: {"model_weights": o}), "names"),
    *(Case(f"pickle with {name}", "weights", _zip(data)) for name, data in _hand_made().items()),
    *(Case(f"pickle with {name}", "convert", _zip(data)) for name, data in _hand_made().items()),
    Case("counter", "weights", file("c.pth", torch_bytes({"model": Counter("ab")}))),
    Case("compressed records", "weights", _compressed, "compressed"),
    Case("compressed records", "convert", _compressed, "compressed"),
    Case("tensor of 4 TB over 4 bytes", "weights", _expanded, "larger than"),
    Case("NaN", "weights", _changed(lambda m: m["0.weight"].fill_(torch.nan)), "0.weight"),
    Case("infinity", "weights", _changed(lambda m: m["1.bias"].fill_(torch.inf)), r"bias \(2 of"),
    Case(
        "other shapes",
        "weights",
        _changed(lambda m: m.update({n: torch.ones(7, 7) for n in m})),
        "does not fit",
    ),
    Case(
        "other names",
        "weights",
        _changed(lambda m: (m.clear(), m.update(a=torch.ones(1)))),
        "does not fit",
    ),
    Case("text for weights", "weights", _changed(lambda m: m.update({"0.bias": "x"})), "0.bias"),
    Case("numbers for names", "weights", _changed(lambda m: m.update({5: torch.ones(1)})), "5"),
    Case("sparse", "weights", _changed(lambda m: m.update({"0.bias": torch.ones(3).to_sparse()}))),
    Case("complex", "weights", _changed(lambda m: m.update({"0.bias": torch.ones(3) * 1j}))),
    Case("a list", "weights", file("list.pth", torch_bytes([1, 2])), "list"),
    Case("truncated", "weights", lambda f: many(f, cut(torch_bytes(model_state())), ".pth")),
    Case(
        "flipped",
        "weights",
        lambda f: many(f, flipped(torch_bytes(model_state())), ".pth"),
        expected=HARMLESS,
    ),
    Case(
        "flipped legacy",
        "weights",
        lambda f: many(
            f, flipped(torch_bytes(model_state(), _use_new_zipfile_serialization=False)), ".pth"
        ),
        expected=HARMLESS,
    ),
    Case(
        "torchvision's with other bytes",
        "weights",
        file("resnet18-f37072fd.pth", torch_bytes(model_state())),
        "SHA-256",
    ),
    Case(
        "opcodes at random",
        "weights",
        lambda f: many(
            f,
            [
                b"\x80\x02" + bytes(ord(o.code) for o in pickletools.opcodes[n:])
                for n in range(0, 60, 5)
            ],
            ".pth",
        ),
    ),
]
SAFETENSORS = [
    Case("header of 2**63 bytes", "weights", file("a.safetensors", _safetensors(b"{}", 2**63))),
    Case("header of 4 GB", "weights", file("a.safetensors", _safetensors(b"{}", 2**32))),
    Case("header beyond the file", "weights", file("a.safetensors", _safetensors(b"{}", 50))),
    Case("no JSON", "weights", file("a.safetensors", _safetensors(b"\xff" * 20))),
    Case("nested JSON", "weights", file("a.safetensors", _safetensors(b"[" * 100_000))),
    *(
        Case(
            name,
            "weights",
            file("a.safetensors", _safetensors(_tensor_header(**entry), None, b"0" * 8)),
        )
        for name, entry in {
            "offsets beyond the file": {"data_offsets": [0, 2**40]},
            "offsets backwards": {"data_offsets": [8, 0]},
            "shape of 2**80": {"data_offsets": [0, 8], "shape": [2**40, 2**40]},
            "negative shape": {"data_offsets": [0, 8], "shape": [-2]},
            "unknown type": {"data_offsets": [0, 8], "dtype": "F999"},
            "other length": {"data_offsets": [0, 8], "shape": [3]},
        }.items()
    ),
    Case(
        "truncated safetensors",
        "weights",
        lambda f: many(f, cut(save(model_state()["model"])), ".safetensors"),
    ),
    Case(
        "flipped safetensors",
        "weights",
        lambda f: many(f, flipped(save(model_state()["model"])), ".safetensors"),
        expected=HARMLESS,
    ),
    Case(
        "NaN in safetensors",
        "weights",
        file("a.safetensors", save({"0.bias": torch.full((3,), torch.nan)})),
        "0.bias",
    ),
    Case("no config", "segmenter", _described(""), "no config"),
    Case("config of another type", "segmenter", _described("[1, 2]"), "config"),
    Case("config with laughs", "segmenter", _described(YAML_LAUGHS), "too large"),
    Case("config with merges", "segmenter", _described(YAML_MERGES), "merges"),
    Case("config nested", "segmenter", _described("a: " + "[" * 20_000), "too deep"),
    Case("config of 3 MB", "segmenter", _described("a: 1\n" * 600_000), "too long"),
    *(
        Case(f"config with tag {n}", "segmenter", _described(f"a: {tag}"), "config")
        for n, tag in enumerate(TAGS)
    ),
    Case(
        "a billion layers",
        "segmenter",
        _described(SEGMENTER + "ROI_MASK_HEAD: {NUM_CONV: 1000000000}}"),
        "NUM_CONV",
    ),
    Case(
        "wide layers",
        "segmenter",
        _described(SEGMENTER + "ROI_BOX_HEAD: {FC_DIM: 60000, NUM_FC: 9}}"),
        "no model|numbers",
    ),
    Case(
        "nested literal",
        "segmenter",
        _described(f'MODEL: {{WEIGHTS: "{"(" * 5000}"}}'),
        "config|numbers|no model",
    ),
    Case(
        "architecture that is none",
        "segmenter",
        _described("MODEL: {META_ARCHITECTURE: os.system, MASK_ON: true}"),
        "no model",
    ),
    Case("description of NaN", "description", _described(config="a: .nan"), expected=HARMLESS),
]
CASES = WEIGHTS + SAFETENSORS
