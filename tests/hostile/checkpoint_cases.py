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

import numpy as np
import torch
from cases import CANARY, LOADED, Case, cut, file, flipped, many, variants
from config_cases import TAGS, YAML_LAUGHS, YAML_LONG_ALIASES, YAML_MERGES
from safetensors.torch import save
from torch_zips import with_two_directories

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


def good_arrays(protocol: int = 4, **extra: object) -> bytes:
    """A ``.pkl`` of the corpus's model, as Detectron2's zoo has them."""
    weights = {name: tensor.numpy() for name, tensor in model_state()["model"].items()}
    content = {"model": weights, "__author__": "Detectron2 Model Zoo", **extra}
    return pickle.dumps(content, protocol)


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


NO_WEIGHTS = "not a dict of weights|has no 'model_weights'"
CUT_OFF = "ends too early"


def _hand_made() -> dict[str, tuple[bytes, str]]:
    """Pickles that no library writes, and what the error says."""
    laughs = b"\x80\x02]q\x00" + b"".join(
        b"]q" + bytes([n]) + b"(" + (b"h" + bytes([n - 1])) * 10 + b"e" for n in range(1, 60)
    )
    text = b"X\x01\x00\x00\x00aX\x03\x00\x00\x00hex"
    nested = b")" + b"\x85" * 100_000
    # published checkpoints may hold such keys, which are left out
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


def _safetensors(header: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def _tensor_header(**entry: object) -> bytes:
    return json.dumps({"0.weight": {"dtype": "F32", "shape": [2], **entry}}).encode()


def _empty_tensors(count: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"t{number}": empty for number in range(count)}).encode()


TWICE = (
    b'{"0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, '
    b'"0.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
)


def _described(config: str = "{}", **description: str) -> Callable[[Path], Path]:
    """A checkpoint that describes itself so."""
    metadata = {"format_version": "1", "config": config, **description}

    def build(folder: Path) -> Path:
        path = folder / "described.safetensors"
        path.write_bytes(save(model_state()["model"], metadata))
        return path

    return build


def _yaml(key: str, value: object) -> str:
    """A config of one key."""
    *sections, name = key.split(".")
    return (
        "".join(f"{section}: {{" for section in sections) + f"{name}: {value}" + "}" * len(sections)
    )


SEGMENTER = "MODEL: {META_ARCHITECTURE: GeneralizedRCNN, MASK_ON: true, "
SPECIAL = r"names torch\.(_utils._rebuild_sparse|ComplexFloat)"
WEIGHTS = [
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
        Case(f"pickle with {name}", entry, _zip(data), says)
        for name, (data, says) in _hand_made().items()
        for entry in ("weights", "convert")
    ),
    Case("counter", "weights", file("c.pth", torch_bytes({"model": Counter("ab")})), "names"),
    Case("two directories", "weights", file("a.pth", with_two_directories()), "no weights"),
    Case("two directories", "convert", file("a.pth", with_two_directories()), "model_weights"),
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
    Case(
        "numbers for names", "weights", _changed(lambda m: m.update({5: torch.ones(1)})), "entry 5"
    ),
    Case(
        "sparse",
        "weights",
        _changed(lambda m: m.update({"0.bias": torch.ones(3).to_sparse()})),
        SPECIAL,
    ),
    Case(
        "complex", "weights", _changed(lambda m: m.update({"0.bias": torch.ones(3) * 1j})), SPECIAL
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


def _array_pickle(*values: object) -> bytes:
    """``{"w": array}`` in protocol 2 whose array is reconstructed and then built of a state."""
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
    shape, data = values
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + shape + kind + b"\x89" + data + b"tb"
    return b"\x80\x02}X\x01\x00\x00\x00w" + made + state + b"s."


def _array_hand_made() -> dict[str, tuple[bytes, str]]:
    """Pickles of arrays that NumPy does not write, and what the error says."""
    two, zeros = b"K\x02\x85", b"C\x08" + bytes(8)
    long = b"B\x00\x00\x10\x00" + bytes(2**20)  # a megabyte
    text = b"X\x00\x00\x10\x00" + bytes(2**20)
    encode = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
    frombuffer = b"cnumpy._core.numeric\n_frombuffer\n"
    view = frombuffer + b"(h\x00h\x01J\x00\x00\x04\x00\x85X\x01\x00\x00\x00CtR"
    many_views = b"\x80\x04(" + long + b"\x94" + kind + b"\x94" + view * 9 + b"t."
    return {
        "more numbers than bytes": (_array_pickle(b"K\x03\x85", zeros), "another length"),
        "fewer numbers than bytes": (_array_pickle(b"K\x01\x85", zeros), "another length"),
        "shape of 2**80": (
            _array_pickle(b"\x8a\x06\x00\x00\x00\x00\x00\x01" * 2 + b"\x86", zeros),
            "another length",
        ),
        "negative shape": (_array_pickle(b"J\xfe\xff\xff\xff\x85", zeros), "not a tuple of"),
        "shape of text": (_array_pickle(b"X\x01\x00\x00\x00a", zeros), "not a tuple of"),
        "numbers that are a list": (_array_pickle(two, b"]"), "not bytes"),
        "numbers of 4 GB": (_array_pickle(two, b"B\xff\xff\xff\xffabc"), CUT_OFF),
        "bytearray of 100 GB": (
            _array_pickle(two, b"\x96\x00\x00\x00\x00\x17\x00\x00\x00abc"),
            CUT_OFF,
        ),
        "text encoded as hex": (
            _array_pickle(two, b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R"),
            "names _codecs.encode",
        ),
        "text encoded many times": (
            b"\x80\x02" + b"(" + text + b"q\x00" + encode * 9 + b"t.",
            "larger than the file",
        ),
        "one buffer in many arrays": (many_views, "larger than the file"),
        "frame of 4 GB": (b"\x80\x04\x95" + b"\xff" * 8 + b"}.", "no weights"),
        "array without numbers": (
            b"\x80\x02}X\x01\x00\x00\x00wcnumpy.core.multiarray\n_reconstruct\n)Rs.",
            "has no numbers",
        ),
        "array called": (b"\x80\x02cnumpy\nndarray\n)R.", "calls numpy.ndarray"),
        "two million dicts": (b"\x80\x02(" + b"}" * 2_200_000 + b"t.", "too long"),
        "storage outside": (b"\x80\x02K\x01Q.", "operation BINPERSID"),
        "os.system": (b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch canary\x85R.", "names os"),
    }


ARRAYS = [
    Case("good", "weights", file("a.pkl", good_arrays()), LOADED),
    Case(
        "calls in a pkl",
        "weights",
        lambda folder: many(
            folder, [pickle.dumps({"model": o, "__author__": "x"}) for o in touching()], ".pkl"
        ),
        "names",
    ),
    Case(
        "calls beside arrays",
        "weights",
        lambda folder: many(folder, [good_arrays(epoch=o) for o in touching()], ".pkl"),
        "names",
    ),
    *(
        Case(f"arrays: {name}", "weights", file("a.pkl", data), says)
        for name, (data, says) in _array_hand_made().items()
    ),
    Case(
        "arrays of objects",
        "weights",
        file("a.pkl", pickle.dumps({"w": np.array([{}, []], dtype=object)})),
        "of the type O8",
    ),
    Case(
        "big-endian arrays",
        "weights",
        file("a.pkl", pickle.dumps({"w": np.ones(2, ">f4")})),
        "big-endian",
    ),
    Case(
        "NaN in arrays",
        "weights",
        file("a.pkl", pickle.dumps({"model": {"0.bias": np.full(3, np.nan)}, "__author__": "x"})),
        "0.bias",
    ),
    Case(
        "arrays of other names",
        "weights",
        file("a.pkl", pickle.dumps({"a": np.ones(1)})),
        "does not fit",
    ),
    Case("a pickled list", "weights", file("a.pkl", pickle.dumps([1])), "holds a list"),
    *(
        variants(f"truncated, protocol {p}", "weights", cut(good_arrays(p)), ".pkl", "too early")
        for p in (2, 5)
    ),
    variants(
        "flipped arrays",
        "weights",
        flipped(good_arrays()),
        ".pkl",
        "damaged|operation|names",
        mixed="numbers have no checksum",
    ),
]
HEADER = "its header"
SAFETENSORS = [
    Case(
        "header of 2**63 bytes",
        "weights",
        file("a.safetensors", _safetensors(b"{}", 2**63)),
        HEADER,
    ),
    Case("header of 4 GB", "weights", file("a.safetensors", _safetensors(b"{}", 2**32)), HEADER),
    Case(
        "header beyond the file", "weights", file("a.safetensors", _safetensors(b"{}", 50)), HEADER
    ),
    Case("no JSON", "weights", file("a.safetensors", _safetensors(b"\xff" * 20)), HEADER),
    Case("nested JSON", "weights", file("a.safetensors", _safetensors(b"[" * 100_000)), HEADER),
    *(
        Case(
            name,
            "weights",
            file("a.safetensors", _safetensors(_tensor_header(**entry), None, b"0" * 8)),
            HEADER,
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
    variants("truncated safetensors", "weights", cut(good_safetensors()), ".safetensors", HEADER),
    variants(
        "flipped safetensors",
        "weights",
        flipped(good_safetensors()),
        ".safetensors",
        HEADER,
        mixed="weights have no checksum",
    ),
    Case(
        "NaN in safetensors",
        "weights",
        file("a.safetensors", save({"0.bias": torch.full((3,), torch.nan)})),
        "0.bias",
    ),
    *(
        Case(
            f"weights of {dtype}",
            "weights",
            file("a.safetensors", save({"0.bias": torch.ones(3).to(dtype)})),
            "0.bias is of",
        )
        for dtype in (
            *(torch.int8, torch.uint8, torch.bool, torch.int64, torch.complex64),
            torch.float8_e4m3fn,
        )
    ),
    *(
        Case(
            f"weights of {dtype} in torch file",
            "weights",
            _changed(lambda m, dtype=dtype: m.update({"0.bias": torch.ones(3).to(dtype)})),
            "0.bias is of|names torch",
        )
        for dtype in (torch.int8, torch.bool, torch.int64)
    ),
    Case(
        "200,000 empty tensors",
        "weights",
        file("a.safetensors", _safetensors(_empty_tensors(200_000))),
        "200,000 tensors",
    ),
    Case(
        "a name twice",
        "weights",
        file("a.safetensors", _safetensors(TWICE, None, b"0" * 8)),
        HEADER,
    ),
    Case("surplus numbers", "weights", file("a.safetensors", good_safetensors() + b"0"), HEADER),
    Case("no config", "segmenter", _described(""), "no config"),
    Case("config of another type", "segmenter", _described("[1, 2]"), "not a mapping"),
    Case("config with laughs", "segmenter", _described(YAML_LAUGHS), "too large"),
    Case("config with long text aliased", "segmenter", _described(YAML_LONG_ALIASES), "too large"),
    Case("config with merges", "segmenter", _described(YAML_MERGES), "merges"),
    Case("config nested", "segmenter", _described("a: " + "[" * 20_000), "too deep"),
    Case("config of 3 MB", "segmenter", _described("a: 1\n" * 600_000), "too long"),
    *(
        Case(f"config with tag {n}", "segmenter", _described(f"a: {tag}"), "for the tag")
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
        "FC_DIM is 60000",
    ),
    Case("a model larger than its file", "segmenter", _described(SEGMENTER + "}"), "[0-9] numbers"),
    *(
        Case(f"config with {key} {value}", "segmenter", _described(_yaml(key, value)), key)
        for key, value in {
            "INPUT.MIN_SIZE_TEST": 100_000,
            "INPUT.MAX_SIZE_TEST": 10**9,
            "INPUT.FORMAT": "L",
            "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 65_536,
            "MODEL.ROI_MASK_HEAD.POOLER_SAMPLING_RATIO": 1000,
            "MODEL.RPN.PRE_NMS_TOPK_TEST": 10**9,
            "MODEL.RPN.NMS_THRESH": "!!float nan",
            "MODEL.ANCHOR_GENERATOR.SIZES": [[1] * 2000],
            "MODEL.ROI_HEADS.IN_FEATURES": [],
            "MODEL.PIXEL_STD": [0, 0, 0],
            "MODEL.PIXEL_MEAN": ["x", 0, 0],
            "TEST.DETECTIONS_PER_IMAGE": 10**8,
        }.items()
    ),
    Case(
        "nested literal",
        "segmenter",
        _described(f'MODEL: {{WEIGHTS: "{"(" * 5000}"}}'),
        "numbers",
    ),
    Case(
        "architecture that is none",
        "segmenter",
        _described("MODEL: {META_ARCHITECTURE: os.system, MASK_ON: true}"),
        "no model",
    ),
    Case("description of NaN", "description", _described(config="a: .nan"), LOADED),
]
CASES = WEIGHTS + ARRAYS + SAFETENSORS
