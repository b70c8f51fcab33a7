"""Hostile and damaged files of a run: its folder, and its RoI batches."""

from __future__ import annotations

import copy
import io
import json
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import HARMLESS, Case, cut, flipped, many
from checkpoint_cases import touching
from dataset_cases import AREA, JUNK, NESTED, SIDE, coco

from ct_lesion.data.loading.roi_batches import Fingerprint, RoIBatches

_AP = {"AP": 50.0, "AP50": 60.0, "AP75": 40.0}
RUN: dict[str, Any] = {
    "config.yaml": "MODEL: {DEVICE: cpu}\n",
    "training.json": {"seconds": 60.0, "preparation_seconds": 1.0},
    "metrics.json": '{"iteration": 0, "total_loss": 1.0}\n',
    "inference/lesions_test/ground_truth.json": coco(),
    "inference/lesions_test/coco_instances_results.json": [
        {
            "image_id": 1,
            "category_id": 1,
            "score": 0.9,
            "bbox": [8, 8, 16, 16],
            "segmentation": {"size": [SIDE, SIDE], "counts": [AREA]},
        }
    ],
    "inference/lesions_test/segmentation_metrics.json": {
        "segm": _AP,
        "bbox": _AP,
        "patients": {"1": _AP},
        "paper_table_2": {"score_threshold": 0.75, "coco": _AP, "release": _AP},
        "lesions": {"lesions": 1, "found": 1, "false": 0},
    },
    "inference/classes_test/predictions.csv": (
        "image_id,file,patient,scan,true_class,logit_0 Control,logit_1 COVID-19\n"
        "a,a.png,1,1,Control,0.5,0.1\n"
    ),
    "inference/classes_test/classification_metrics.json": {
        "classes": ["Control", "COVID-19"],
        "metrics": {"accuracy": 100.0},
        "undefined": {},
    },
}


def _run(change: Callable[[dict], object]) -> Callable[[Path], Path]:
    """A run's folder after a change of its files' contents, by name."""
    content = copy.deepcopy(RUN)
    change(content)

    return lambda folder: write_run(folder, content)


def write_run(folder: Path, content: dict[str, Any]) -> Path:
    """A run's folder of these files: text or bytes as they are, other values as JSON."""
    for name, data in content.items():
        path = folder / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = data if isinstance(data, (str, bytes)) else json.dumps(data)
        path.write_bytes(text.encode(errors="replace") if isinstance(text, str) else text)
    return folder / "run"


def _detection(**values: Any) -> Callable[[dict], object]:
    return lambda r: r["inference/lesions_test/coco_instances_results.json"][0].update(values)


def _replaced(data: Any) -> list[tuple[str, Callable[[dict], object]]]:
    return [(name, lambda r, name=name: r.update({name: data})) for name in RUN]


def _run_cases() -> list[Case]:
    changes = [
        (f"{what} in {name.rpartition('/')[2]}", change)
        for what, data in {
            "junk": JUNK,
            "nesting": NESTED,
            "text": '"text"',
            "a list of null": "[null]",
            "null": "null",
            "an empty object": "{}",
        }.items()
        for name, change in _replaced(data)
        # lines of metrics.json that are none are passed over, a config may be empty
        if name != "metrics.json" and (what, name) != ("an empty object", "config.yaml")
    ]
    segmentation = "inference/lesions_test/segmentation_metrics.json"
    classification = "inference/classes_test/classification_metrics.json"
    predictions = "inference/classes_test/predictions.csv"
    changes += [
        ("mask beyond", _detection(segmentation={"size": [64, 64], "counts": [0, 99999]})),
        ("mask of another size", _detection(segmentation={"size": [9, 9], "counts": [81]})),
        ("mask of text", _detection(segmentation="x")),
        ("score NaN", _detection(score=float("nan"))),
        ("score of text", _detection(score="high")),
        ("category that is not there", _detection(category_id=9)),
        ("category of a list", _detection(category_id=[1])),
        ("image that is not there", _detection(image_id=9)),
        ("box of text", _detection(bbox="x")),
        ("AP of text", lambda r: r[segmentation].update(segm={**_AP, "AP": "high"})),
        ("AP missing", lambda r: r[segmentation].update(segm={})),
        ("patients of a list", lambda r: r[segmentation].update(patients=[1])),
        ("accuracy of text", lambda r: r[classification]["metrics"].update(accuracy="all")),
        ("seconds of text", lambda r: r["training.json"].update(seconds="long")),
        ("logits of text", lambda r: r.update({predictions: r[predictions].replace("0.5", "x")})),
        ("logits of NaN", lambda r: r.update({predictions: r[predictions].replace("0.5", "nan")})),
        (
            "unknown class",
            lambda r: r.update({predictions: r[predictions].replace(",Control,", ",x,")}),
        ),
        ("a cell of 1 MB", lambda r: r.update({predictions: r[predictions] + "x" * 10**6})),
        ("cache of junk", lambda r: r.update({"inference/classes_test/roi_batches.npz": JUNK})),
        ("config that runs", lambda r: r.update({"config.yaml": "a: !!python/name:os.system ''"})),
    ]
    cases = [Case(name, "run_folder", _run(change)) for name, change in changes]
    lines = _run(lambda r: r.update({"metrics.json": JUNK + NESTED.encode() + b"\n[1]\n"}))
    return [*cases, Case("junk in metrics.json", "run_folder", lines, expected=HARMLESS)]


# ---- RoI batches --------------------------------------------------------------------------------
def good_cache() -> bytes:
    """A file of RoI batches of two slices."""
    m, n = 2, 3
    texts = {key: np.array(["a", "b"]) for key in ("file_name", "image_id", "patient", "scan")}
    batches = RoIBatches(
        roi_batch=np.ones((m, n, 5), np.float32),
        boxes=np.ones((m, n, 4), np.float32),
        classes=np.zeros((m, n), int),
        is_copy=np.zeros((m, n), bool),
        **{key: np.zeros(m, int) for key in ("label", "height", "width")},
        **texts,
        fingerprint=Fingerprint("a", "b", "c"),
    )
    with tempfile.TemporaryDirectory() as folder:
        batches.save(Path(folder) / "a.npz")
        return (Path(folder) / "a.npz").read_bytes()


def _npz(**arrays: Any) -> Callable[[Path], Path]:
    """The cache with other arrays; bytes are the array's file as it is."""

    def build(folder: Path) -> Path:
        with np.load(io.BytesIO(good_cache())) as good:
            content = dict(good)
        path = folder / "roi_batches.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in (content | arrays).items():
                buffer = io.BytesIO()
                if not isinstance(array, bytes):
                    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=True)
                archive.writestr(f"{name}.npy", buffer.getvalue() or array)
        return path

    return build


def _compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "bomb.npz", roi_batch=np.zeros((1, 4_000_000, 5), np.float32))
    return folder / "bomb.npz"


def _header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


ARRAYS = {
    "of objects": {"label": np.array(touching()[:2], object)},
    "a pickle": {"label": pickle.dumps(touching()[0])},
    "of 2**60 rows": {
        "label": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**60,)}")
    },
    "of 10**12 rows": {
        "label": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n")
    },
    "with a header that calls": {"label": _header("__import__('os').mkdir('canary')\n")},
    "with a nested header": {"label": _header("(" * 5000)},
    "of another length": {"label": np.zeros(7, int)},
    "of another shape": {"roi_batch": np.ones((2, 3, 4), np.float32)},
    "of one dimension": {"roi_batch": np.ones(4, np.float32)},
    "of NaN": {"roi_batch": np.full((2, 3, 5), np.nan, np.float32)},
    "of text": {"boxes": np.full((2, 3, 4), "x")},
    "of records": {"label": np.zeros(2, [("a", int)])},
    "fingerprint of a list": {"fingerprint": np.array("[1]")},
    "fingerprint of other keys": {"fingerprint": np.array('{"x": "y"}')},
    "fingerprint nested": {"fingerprint": np.array(NESTED)},
    "config of numbers": {"config": np.zeros(3)},
}

CASES = [
    *_run_cases(),
    *(Case(f"array {n}", "roi_batches", _npz(**a)) for n, a in ARRAYS.items()),
    Case("compressed", "roi_batches", _compressed, "compressed"),
    Case("truncated", "roi_batches", lambda f: many(f, cut(good_cache()), ".npz")),
    Case(
        "flipped",
        "roi_batches",
        lambda f: many(f, flipped(good_cache()), ".npz"),
        expected=HARMLESS,
    ),
]
