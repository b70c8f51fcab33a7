"""Hostile and damaged run folders and RoI batches."""

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
from cases import LOADED, Case, cut, flipped, variants
from checkpoint_cases import touching
from dataset_cases import AREA, JUNK, NESTED, SIDE, coco

from ct_lesion.data.loading.roi_batches import Fingerprint, RoIBatches
from ct_lesion.evaluation.classification_metrics import PER_CLASS

WRONG_KIND = "holds a|not a mapping|no slices"
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
        "patients": {},
        "paper_table_2": {"score_threshold": 0.75, "coco": _AP, "release": _AP},
        "lesions": {"lesions": 1, "found": 1, "false": 0},
    },
    "inference/classes_test/predictions.csv": (
        "image_id,file,patient,scan,true_class,logit_0 Control,logit_1 COVID-19\n"
        "a,a.png,1,1,Control,0.5,0.1\n"
    ),
    "inference/classes_test/classification_metrics.json": {
        "classes": ["Control", "COVID-19"],
        "metrics": {
            "accuracy": 100.0,
            **{f"{m}/{c}": 100.0 for m in PER_CLASS for c in ("Control", "COVID-19")},
        },
        "undefined": {},
    },
}


def _run(change: Callable[[dict], object]) -> Callable[[Path], Path]:
    """A run folder; ``change`` edits the contents of its files, by name."""
    content = copy.deepcopy(RUN)
    change(content)

    return lambda folder: write_run(folder, content)


def write_run(folder: Path, content: dict[str, Any]) -> Path:
    """Write a run folder: text and bytes as they are, other values as JSON."""
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
    cases = [
        Case(f"{what} in {name.rpartition('/')[2]}", "run_folder", _run(change), match)
        for what, (data, match) in {
            "junk": (JUNK, "codec"),
            "nesting": (NESTED, "too deep|too long|field limit"),
            "text": ('"text"', WRONG_KIND),
            "a list of null": ("[null]", f"{WRONG_KIND}|no image_id"),
            "null": ("null", WRONG_KIND),
            "an empty object": ("{}", f"{WRONG_KIND}|it has no|'images'"),
        }.items()
        for name, change in _replaced(data)
        # metrics.json is read line by line and bad lines are skipped; a config may be empty
        if name != "metrics.json" and (what, name) != ("an empty object", "config.yaml")
    ]
    segmentation = "inference/lesions_test/segmentation_metrics.json"
    classification = "inference/classes_test/classification_metrics.json"
    predictions = "inference/classes_test/predictions.csv"

    def replaced(old: str, new: str) -> Callable[[dict], object]:
        return lambda r: r.update({predictions: r[predictions].replace(old, new)})

    changes = {
        "mask beyond": (
            _detection(segmentation={"size": [64, 64], "counts": [0, 99999]}),
            "add up",
        ),
        "mask of another size": (_detection(segmentation={"size": [9, 9], "counts": [81]}), "size"),
        "mask of text": (_detection(segmentation="x"), "mask"),
        "score NaN": (_detection(score=float("nan")), "score"),
        "score of text": (_detection(score="high"), "score"),
        "category that is not there": (_detection(category_id=9), "category"),
        "category of a list": (_detection(category_id=[1]), "category"),
        "image that is not there": (_detection(image_id=9), "image 9"),
        "box of text": (_detection(bbox="x"), "bbox"),
        "AP of text": (lambda r: r[segmentation].update(segm={**_AP, "AP": "high"}), "segm.AP"),
        "AP missing": (lambda r: r[segmentation].update(segm={}), "segm.AP"),
        "patients of a list": (lambda r: r[segmentation].update(patients=[1]), "patients"),
        "a patient who is not there": (
            lambda r: r[segmentation].update(patients={"x": {"slices": 1, **_AP}}),
            "1 patients who are not in ground_truth.json, e.g. x",
        ),
        "a patient without AP": (
            lambda r: r[segmentation].update(patients={"x": {"slices": 1}}),
            "no patients.x.AP",
        ),
        "no limit of detections": (
            lambda r: r[segmentation].update(max_detections=0),
            "max_detections is 0",
        ),
        "image root of a number": (
            lambda r: r.update({"inference/lesions_test/evaluation.json": {"image_root": 5}}),
            "image_root is 5",
        ),
        "hardware of another program": (
            lambda r: r["training.json"].update(hardware={"cpu": "x"}),
            "no hardware.processor",
        ),
        "patients of another program": (
            lambda r: r["training.json"].update(patients={"shared": 5}),
            "no patients.test",
        ),
        "seconds of NaN": (lambda r: r["training.json"].update(seconds=float("nan")), "seconds is"),
        "a class without metrics": (
            lambda r: r[classification]["metrics"].pop("F1/Control"),
            "lacks metrics of the classes in predictions.csv, Control, COVID-19",
        ),
        "other classes": (lambda r: r[classification].update(classes=["x"]), "lacks metrics"),
        "an unknown architecture": (
            lambda r: r.update({"config.yaml": "MODEL: {META_ARCHITECTURE: Nope}"}),
            "META_ARCHITECTURE Nope is unknown",
        ),
        "accuracy of text": (
            lambda r: r[classification]["metrics"].update(accuracy="all"),
            "accuracy",
        ),
        "seconds of text": (lambda r: r["training.json"].update(seconds="long"), "seconds"),
        "logits of text": (replaced("0.5", "x"), "not convert"),
        "logits of NaN": (replaced("0.5", "nan"), "finite"),
        "unknown class": (replaced(",Control,", ",x,"), "predictions.csv"),
        "a cell of 1 MB": (replaced("0.1\n", "x" * 10**6), "field limit"),
        "cache of junk": (
            lambda r: r.update({"inference/classes_test/roi_batches.npz": JUNK}),
            "not a complete file of RoI batches",
        ),
        "config that runs": (
            lambda r: r.update({"config.yaml": "a: !!python/name:os.x ''"}),
            "tag",
        ),
        "text and null in metrics.json": (
            lambda r: r.update(
                {
                    "metrics.json": '{"iteration": 1, "total_loss": "high", "loss_a": null}\n'
                    '{"iteration": null, "total_loss": 1}\n{"iteration": 1e400}\n'
                }
            ),
            LOADED,
        ),
        "junk in metrics.json": (
            lambda r: r.update({"metrics.json": JUNK + NESTED.encode() + b"\n[1]\n"}),
            LOADED,
        ),
    }
    cases += [Case(name, "run_folder", _run(c), match) for name, (c, match) in changes.items()]
    return cases


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
    """A cache with changed arrays; bytes replace an array's file, ``None`` removes it."""

    def build(folder: Path) -> Path:
        with np.load(io.BytesIO(good_cache())) as good:
            content = dict(good)
        path = folder / "roi_batches.npz"
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in (content | arrays).items():
                if array is None:
                    continue
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
    "without is_copy": ({"is_copy": None}, "has no is_copy; an earlier version"),
    "of objects": ({"label": np.array(touching()[:2], object)}, "holds objects"),
    "a pickle": ({"label": pickle.dumps(touching()[0])}, "magic string"),
    "of 2**60 rows": (
        {"label": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**60,)}")},
        "not a complete",
    ),
    "of 10**12 rows": (
        {"label": _header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n")},
        "larger than the file",
    ),
    "with a header that calls": (
        {"label": _header("__import__('os').mkdir('canary')\n")},
        "not a complete",
    ),
    "with a nested header": ({"label": _header("(" * 5000)}, "not a complete"),
    "of another length": ({"label": np.zeros(7, int)}, r"shape \(7,\)"),
    "of another shape": ({"roi_batch": np.ones((2, 3, 4), np.float32)}, r"shape \(2, 3, 4\)"),
    "of one dimension": ({"roi_batch": np.ones(4, np.float32)}, "not a complete"),
    "of NaN": ({"roi_batch": np.full((2, 3, 5), np.nan, np.float32)}, "NaN"),
    "of text": ({"boxes": np.full((2, 3, 4), "x")}, "of type"),
    "of records": ({"label": np.zeros(2, [("a", int)])}, "of type"),
    "fingerprint of a list": ({"fingerprint": np.array("[1]")}, "not list"),
    "fingerprint of other keys": ({"fingerprint": np.array('{"x": "y"}')}, "unexpected"),
    "fingerprint nested": ({"fingerprint": np.array(NESTED)}, "recursion"),
    "config of numbers": ({"config": np.zeros(3)}, "config has the shape"),
}

CASES = [
    *_run_cases(),
    *(Case(f"array {n}", "roi_batches", _npz(**a), match) for n, (a, match) in ARRAYS.items()),
    Case("compressed", "roi_batches", _compressed, "compressed"),
    variants("truncated", "roi_batches", cut(good_cache()), ".npz", "not a zip file"),
    variants(
        "flipped",
        "roi_batches",
        flipped(good_cache()),
        ".npz",
        "not a complete file",
        mixed="the zip's dates and attributes are not read",
    ),
]
