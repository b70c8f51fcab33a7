"""Valid files of every kind with random changes: readers must refuse or read them.

The changes are few, and the same in each run. For a long search with new ones:
``CT_LESION_FUZZ=5000 python -m pytest tests/hostile/test_fuzz.py -k dicom``.
Add what it finds to the corpus as a named case.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import CANARY
from checkpoint_cases import good_torch
from dataset_cases import coco, good_covidx
from dicom_cases import good_dicom
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from picture_cases import encoded, good_archive
from pydicom.uid import JPEGLSLossless, RLELossless
from run_cases import RUN, good_cache, write_run
from safetensors_cases import good_safetensors
from sandbox import MOST_MEGABYTES, Sandbox
from volume_cases import VALID, good_nifti_gz

LONG = int(os.environ.get("CT_LESION_FUZZ", "0"))
fuzz = settings(
    max_examples=LONG or 10,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)

EXTREMES = [
    *(bytes([b]) * n for b in (0, 0xFF) for n in (1, 2, 4, 8)),
    *(np.array(v, t).tobytes() for t in ("<i2", ">i2", "<i4", ">i4") for v in (-1, 1, 2**15 - 1)),
    *(np.array(v, "<f4").tobytes() for v in (np.nan, np.inf, -1e30, 0)),
    *(text.encode() for text in ("nan", "inf", "-1", "99999999999", "1e999", "../", "/", "%n%s")),
    b"\n",
    b"\0",
]
places = st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 600))
edits = st.tuples(
    st.sampled_from(["set", "set", "set", "insert", "delete", "cut", "repeat"]),
    places,
    st.one_of(st.sampled_from(EXTREMES), st.binary(min_size=1, max_size=8)),
)


def changed(data: bytes, changes: list[tuple]) -> bytes:
    for kind, place, value in changes:
        at = min(place, len(data)) if isinstance(place, int) else int(place * len(data))
        end = at + len(value)
        data = {
            "set": data[:at] + value + data[end:],
            "insert": data[:at] + value + data[at:],
            "delete": data[:at] + data[end:],
            "cut": data[:at],
            "repeat": data[:end] + data[at:],
        }[kind]
    return data


def check(sandbox: Sandbox, folder: Path, entry: str, write: Callable[[Path], Path]) -> None:
    """Read what ``write`` puts into an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("in", "out", "tmp"):
        (folder / name).mkdir(parents=True)
    path = write(folder / "in")
    (outcome,) = sandbox.read(entry, [path], folder)
    assert outcome.status in ("refused", "loaded"), outcome
    assert outcome.megabytes < MOST_MEGABYTES, outcome
    assert "Traceback" not in outcome.message
    assert not list((folder / "tmp").iterdir())
    assert not list(folder.rglob(CANARY))


FILES = {
    "torch": ("weights", "a.pth", good_torch()),
    "torch legacy": ("weights", "a.pth", good_torch(legacy=True)),
    "safetensors": ("weights", "a.safetensors", good_safetensors()),
    "png": ("segmentation_image", "a.png", encoded("PNG")),
    "jpg": ("segmentation_image", "a.jpg", encoded("JPEG")),
    "tif": ("scan", "a.tif", encoded("TIFF")),
    "tif packed": ("scan", "a.tif", encoded("TIFF", compression="tiff_lzw")),
    "zip": ("lesion_archive", "a.zip", good_archive()),
    "dicom": ("scan", "a.dcm", good_dicom()),
    "dicom rle": ("scan", "a.dcm", good_dicom(RLELossless)),
    "dicom jpegls": ("scan", "a.dcm", good_dicom(JPEGLSLossless)),
    "nii": ("scan", "a.nii", VALID[".nii"]),
    "nii.gz": ("scan", "a.nii.gz", good_nifti_gz()),
    "nrrd": ("scan", "a.nrrd", VALID[".nrrd"]),
    "mha": ("scan", "a.mha", VALID[".mha"]),
    "npz": ("roi_batches", "a.npz", good_cache()),
    "config": ("config", "a.yaml", b"MODEL:\n  MASK_ON: true\nSOLVER: {MAX_ITER: 5}\n"),
    "split list": ("split_list", "a.txt", b"# train\n1_2.jpg\n3/4.png\n"),
    "pair list": ("pair_list", "a.csv", b"patient,image,mask\na,x.nii,y.nii\n"),
    "metadata": ("metadata", "a.csv", b"patient,sex\n1,f\n2,m\n"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_bytes(kind: str, sandbox: Sandbox, tmp_path: Path) -> None:
    entry, name, data = FILES[kind]

    @fuzz
    @given(st.lists(edits, min_size=1, max_size=5))
    def run(changes: list[tuple]) -> None:
        def write(folder: Path) -> Path:
            (folder / name).write_bytes(changed(data, changes))
            return folder / name

        check(sandbox, tmp_path / "fuzz", entry, write)

    run()


# ---- structured files with changed values -------------------------------------------------------
ODD = st.one_of(
    st.sampled_from([None, True, "", "x", [], {}, [None], {"a": 1}, -1, 0, 2**31, 2**63, 2**80]),
    st.sampled_from([float("nan"), float("inf"), -1e308, 0.5, "\0", "é漢", "1" * 5000, [[]], [{}]]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(-5, 5000), max_size=8),
    st.lists(st.floats(), max_size=8),
)


def with_odd_values(content: Any, data: st.DataObject) -> Any:
    """A copy with up to three values replaced or removed."""
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 3))):
        node = content
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inner = node[key]
            if isinstance(inner, (dict, list)) and inner and data.draw(st.integers(0, 3)):
                node = inner
                continue
            if data.draw(st.integers(0, 5)):
                node[key] = copy.deepcopy(data.draw(ODD))  # a later change may reach into it
            else:
                del node[key]
            break
    return content


def _json(name: str, content: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "slice.png").write_bytes(encoded("PNG"))
        (folder / name).write_text(json.dumps(content))
        return folder / name

    return write


@pytest.mark.parametrize("entry", ["lesion_dataset", "covidx_dataset", "run_folder"])
def test_values(entry: str, sandbox: Sandbox, tmp_path: Path) -> None:
    good = {"lesion_dataset": coco(), "covidx_dataset": good_covidx(), "run_folder": RUN}[entry]

    @fuzz
    @given(st.data())
    def run(data: st.DataObject) -> None:
        content = with_odd_values(good, data)
        write = (
            (lambda folder: write_run(folder, content))
            if entry == "run_folder"
            else _json("a.json", content)
        )
        check(sandbox, tmp_path / "fuzz", entry, write)

    run()


def test_runs_of_a_mask(sandbox: Sandbox, tmp_path: Path) -> None:
    """Runs that pass the check go to pycocotools, which crashes on runs that do not fit."""
    texts = st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=30)
    counts = st.one_of(texts, st.text(max_size=9), st.lists(st.integers(-10, 5000), max_size=9))
    fitting = st.lists(st.integers(0, 4096), max_size=9).map(
        lambda runs: [*runs, max(4096 - sum(runs), 0)]
    )

    @fuzz
    @given(st.one_of(counts, fitting))
    def run(runs: object) -> None:
        content = coco()
        content["annotations"][0]["segmentation"] = {"size": [64, 64], "counts": runs}
        check(sandbox, tmp_path / "fuzz", "lesion_dataset", _json("a.json", content))

    run()
