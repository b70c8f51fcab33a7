"""Hostile and damaged ``.pkl`` files of arrays, the format of Detectron2's model zoo."""

from __future__ import annotations

import pickle

import numpy as np
from cases import LOADED, Case, cut, file, flipped, many, variants
from checkpoint_cases import (
    CUT_OFF,
    model_state,
    touching,
)


def good_arrays(protocol: int = 4, **extra: object) -> bytes:
    """The corpus's model in the ``.pkl`` format of Detectron2's model zoo."""
    weights = {name: tensor.numpy() for name, tensor in model_state()["model"].items()}
    content = {"model": weights, "__author__": "Detectron2 Model Zoo", **extra}
    return pickle.dumps(content, protocol)


def _array_pickle(*values: object) -> bytes:
    """``{"w": array}`` in protocol 2; the array's state has the given shape and data."""
    kind = b"cnumpy\ndtype\nX\x02\x00\x00\x00f4\x89\x88\x87R"
    shape, data = values
    made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    state = b"(K\x01" + shape + kind + b"\x89" + data + b"tb"
    return b"\x80\x02}X\x01\x00\x00\x00w" + made + state + b"s."


def _array_hand_made() -> dict[str, tuple[bytes, str]]:
    """Pickles of arrays that NumPy never writes, and what the error must say."""
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


CASES = [
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
        Case(f"arrays: {name}", "weights", file("a.pkl", data), match)
        for name, (data, match) in _array_hand_made().items()
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
