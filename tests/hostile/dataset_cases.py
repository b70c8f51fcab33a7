"""Hostile and damaged datasets, lists, caches, and files of a run."""

from __future__ import annotations

import copy
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from cases import HARMLESS, Case, cut, file, flipped, many
from checkpoint_cases import touching
from picture_cases import GREY, encoded

from ct_lesion.data.roi_batches import Fingerprint, RoIBatches

SIDE = 64
NESTED = "[" * 200_000 + "]" * 200_000
JUNK = bytes(range(256)) * 8
SQUARE = [float(x) for x in (8, 8, 24, 8, 24, 24, 8, 24)]


# ---- COCO json ----------------------------------------------------------------------------------
def coco() -> dict:
    """One image with a square lesion."""
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [8, 8, 16, 16],
        "area": 256,
        "iscrowd": 0,
        "segmentation": [SQUARE],
    }
    return {
        "info": {},
        "images": [{"id": 1, "file_name": "slice.png", "height": SIDE, "width": SIDE}],
        "categories": [{"id": 1, "name": "Lesion"}],
        "annotations": [annotation],
    }


def _coco(change: Callable[[dict], object]) -> Callable[[Path], Path]:
    content = coco()
    change(content)

    def build(folder: Path) -> Path:
        (folder / "slice.png").write_bytes(encoded("PNG", GREY))
        (folder / "coco.json").write_text(json.dumps(content))
        return folder / "coco.json"

    return build


def _rle(counts: Any, size: Any = (SIDE, SIDE)) -> Callable[[dict], object]:
    mask = {"size": list(size) if isinstance(size, tuple) else size, "counts": counts}
    return lambda c: c["annotations"][0].update(segmentation=mask)


def _annotation(**values: Any) -> Callable[[dict], object]:
    return lambda c: c["annotations"][0].update(values)


def _image(**values: Any) -> Callable[[dict], object]:
    return lambda c: c["images"][0].update(values)


AREA = SIDE * SIDE
MASKS = {
    "runs beyond the mask": (_rle([0, 10 * AREA]), "add up to"),
    "a run of 4 GB": (_rle([0, 2**32 - 1]), "longer than|add up"),
    "a run of 2**80": (_rle([2**80]), "longer than"),
    "runs that are too short": (_rle([10, 10]), "add up to"),
    "negative runs": (_rle([AREA + 10, -10]), "negative"),
    "runs of text": (_rle(["a", "b"]), "neither text nor"),
    "runs of floats": (_rle([1.5, AREA - 1.5]), "neither text nor"),
    "runs of null": (_rle(None), "neither text nor"),
    "no runs": (_rle([]), "add up to"),
    "many runs of 0": (_rle([0] * 100_000 + [7]), "add up to"),
    "another size": (_rle([AREA], (64, 65)), "of size"),
    "size of 10**6": (_rle([10**12], (10**6, 10**6)), "of size"),
    "negative size": (_rle([AREA], (-64, -64)), "of size"),
    "size of text": (_rle([AREA], "large"), "of size"),
    "size of one": (_rle([AREA], (64,)), "of size"),
    "text of another mask": (_rle("PPYo1"), "add up to|negative|damaged"),
    "text that is not ASCII": (_rle("ÿé漢"), "ASCII"),
    "text of control characters": (_rle("\x01\x02\x7f"), "damaged"),
    "text without end": (_rle("ooooo"), "damaged"),
    "text of a long number": (_rle("o" * 40 + "0"), "damaged"),
    "text of 1 MB": (_rle("1" * 1_000_000), "add up to"),
    "empty text": (_rle(""), "add up to"),
    "polygon of odd length": (_annotation(segmentation=[SQUARE[:-1]]), "pairs"),
    "polygon of one point": (_annotation(segmentation=[[1.0, 1.0]]), "pairs"),
    "polygon of NaN": (_annotation(segmentation=[[float("nan")] * 8]), "finite"),
    "polygon to infinity": (_annotation(segmentation=[[*SQUARE[:-1], float("inf")]]), "finite"),
    "polygon of text": (_annotation(segmentation=[["a"] * 8]), "finite"),
    "polygon far outside": (_annotation(segmentation=[[*SQUARE[:-1], 1e9]]), "far outside"),
    "polygon of a polygon": (_annotation(segmentation=[[SQUARE] * 6]), "finite"),
    "mask of text": (_annotation(segmentation="mask"), "neither"),
    "mask of a number": (_annotation(segmentation=7), "neither"),
}
COCO = {
    "box of text": (_annotation(bbox="all"), "bbox"),
    "box of NaN": (_annotation(bbox=[float("nan")] * 4), "bbox"),
    "box of negative size": (_annotation(bbox=[8, 8, -16, 16]), "bbox"),
    "box missing": (lambda c: c["annotations"][0].pop("bbox"), "bbox"),
    "crowd of 7": (_annotation(iscrowd=7), "iscrowd"),
    "area of text": (_annotation(area="large"), "area"),
    "annotation of no image": (_annotation(image_id=99), "image 99"),
    "annotation of an image in text": (_annotation(image_id="1"), "image 1"),
    "annotation of no category": (_annotation(category_id=99), "category 99"),
    "annotation twice": (lambda c: c["annotations"].append(c["annotations"][0]), "number of its"),
    "annotations of text": (lambda c: c.update(annotations="none"), "'annotations'"),
    "annotation of null": (lambda c: c["annotations"].append(None), "'annotations'"),
    "no images": (lambda c: c.pop("images"), "'images'"),
    "no categories": (lambda c: c.pop("categories"), "'categories'"),
    "category without name": (lambda c: c["categories"][0].pop("name"), "name"),
    "image twice": (lambda c: c["images"].append(c["images"][0]), "number of its own"),
    "image id of a list": (_image(id=[1]), "number of its own"),
    "image of 10**9": (_image(height=10**9, width=10**9), "no CT slice"),
    "image of 0": (_image(height=0), "0 pixels"),
    "image of negative size": (_image(height=-5), "height"),
    "image size in text": (_image(height="64"), "height"),
    "image of another size": (_image(height=32, width=32), "far outside|of size|32"),
    "image that leads out": (_image(file_name="../../../etc/passwd"), "leads out"),
    "image that is absolute": (_image(file_name="/etc/passwd"), "leads out"),
    "image without name": (_image(file_name=None), "file_name"),
    "image name with a zero": (_image(file_name="a\0b.png"), "file_name"),
    "lung field of another size": (
        _image(lung_segmentation={"size": [9, 9], "counts": [81]}),
        "size",
    ),
    "lung field beyond": (
        _image(lung_segmentation={"size": [SIDE, SIDE], "counts": [0, 10**6]}),
        "add up",
    ),
}


# ---- classification json ------------------------------------------------------------------------
def good_covidx() -> dict:
    """A classification dataset of one slice."""
    return {
        "classes": ["Control", "Common Pneumonia", "COVID-19"],
        "image_root": ".",
        "images": [{"file_name": "slice.png", "height": 64, "width": 64, "label": 0}],
    }


def _covidx(change: Callable[[dict], object]) -> Callable[[Path], Path]:
    content = good_covidx()
    change(content)

    def build(folder: Path) -> Path:
        (folder / "slice.png").write_bytes(encoded("PNG", GREY))
        (folder / "covidx.json").write_text(json.dumps(content))
        return folder / "covidx.json"

    return build


COVIDX = {
    "label 7": (_image(label=7), "label"),
    "label of text": (_image(label="x"), "label"),
    "label of a list": (_image(label=[0]), "label"),
    "label missing": (lambda c: c["images"][0].pop("label"), "label"),
    "image of 10**9": (_image(height=10**9, width=10**9), "no CT slice"),
    "size of text": (_image(height="64"), "classification dataset"),
    "size missing": (lambda c: c["images"][0].pop("width"), "width"),
    "leads out": (_image(file_name="../../etc/passwd"), "leads out"),
    "name of null": (_image(file_name=None), "leads out"),
    "images of null": (lambda c: c.update(images=[None]), "classification dataset"),
    "images of text": (lambda c: c.update(images="abc"), "classification dataset"),
    "root of a number": (lambda c: c.update(image_root=5, images=[]), "slices|dataset"),
    "classes of null": (lambda c: c.update(classes=None), "classes|dataset"),
}


# ---- a run's folder -----------------------------------------------------------------------------
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
    import tempfile

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

LISTS = {
    "junk": JUNK,
    "one line of 5 MB": b"x" * 5_000_000,
    "empty": b"",
    "UTF-16": "a,b".encode("utf-16"),
}


def _first_of(name: str) -> list[Case]:
    texts = {"junk": JUNK, "nested": NESTED.encode(), "null": b"null", "cut off": b'{"images": ['}
    return [Case(what, name, file("a.json", data), "a.json") for what, data in texts.items()]


CASES = [
    *(Case(n, "lesion_dataset", _coco(c), s) for n, (c, s) in {**MASKS, **COCO}.items()),
    *(Case(n, "covidx_dataset", _covidx(c), s) for n, (c, s) in COVIDX.items()),
    *_first_of("lesion_dataset"),
    *_first_of("covidx_dataset"),
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
    *(
        Case(what, entry, file("list.csv", data), "list.csv")
        for what, data in LISTS.items()
        for entry in ("split_list", "pair_list", "metadata")
    ),
    Case(
        "a volume of junk",
        "volume_list",
        file("list.csv", "patient,image,mask\na,list.csv,list.csv\n"),
        "list.csv",
    ),
    Case(
        "a name with a zero",
        "pair_list",
        file("list.csv", "patient,image,mask\na,x\0y.nii,z.nii\n"),
        "does not exist|list.csv",
    ),
]
