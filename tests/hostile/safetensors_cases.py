"""Hostile and damaged ``.safetensors`` files and their descriptions."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import torch
from cases import LOADED, Case, cut, file, flipped, variants
from checkpoint_cases import (
    changed,
    model_state,
)
from config_cases import TAGS, YAML_LAUGHS, YAML_LONG_ALIASES, YAML_MERGES
from safetensors.torch import save

HEADER = "its header"


def good_safetensors() -> bytes:
    """The corpus's model as ``.safetensors``, with a description."""
    return save(model_state()["model"], {"format_version": "1", "config": "{}"})


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
    """A checkpoint with this config and description."""
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


CASES = [
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
            changed(lambda m, dtype=dtype: m.update({"0.bias": torch.ones(3).to(dtype)})),
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
    Case("a model larger than its file", "segmenter", _described(SEGMENTER + "}"), "[0-9] weights"),
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
        "weights",
    ),
    Case(
        "unknown architecture",
        "segmenter",
        _described("MODEL: {META_ARCHITECTURE: os.system, MASK_ON: true}"),
        "no model",
    ),
    Case("description of NaN", "description", _described(config="a: .nan"), LOADED),
]
