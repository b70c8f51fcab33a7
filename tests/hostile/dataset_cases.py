"""Hostile and damaged datasets and lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import LOADED, Case, file
from picture_cases import GREY, encoded

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
    "a run of 4 GB": (_rle([0, 2**32 - 1]), "more than|add up"),
    "a run of 2**80": (_rle([2**80]), "more than"),
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
    "box missing": (lambda c: c["annotations"][0].pop("bbox"), LOADED),
    "box and mask missing": (
        lambda c: [c["annotations"][0].pop(k) for k in ("bbox", "segmentation")],
        "no segmentation",
    ),
    "crowd of 7": (_annotation(iscrowd=7), "iscrowd"),
    "area of text": (_annotation(area="large"), "area"),
    "annotation of no image": (_annotation(image_id=99), "image 99"),
    "annotation of an image in text": (_annotation(image_id="1"), LOADED),
    "annotation of an image of 5,000 digits": (_annotation(image_id="1" * 5000), "image 1"),
    "annotation of no category": (_annotation(category_id=99), "category 99"),
    "annotation twice": (lambda c: c["annotations"].append(c["annotations"][0]), "not unique"),
    "annotations of text": (lambda c: c.update(annotations="none"), "'annotations'"),
    "annotation of null": (lambda c: c["annotations"].append(None), "not an object"),
    "no images": (lambda c: c.pop("images"), "'images'"),
    "no categories": (lambda c: c.pop("categories"), "'categories'"),
    "category without name": (lambda c: c["categories"][0].pop("name"), "name"),
    "image twice": (lambda c: c["images"].append(c["images"][0]), "not unique"),
    "image id of a list": (_image(id=[1]), "not a whole number"),
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

LISTS = {
    "junk": (JUNK, "codec"),
    "one line of 5 MB": (b"x" * 5_000_000, "field limit|is neither"),
    "empty": (b"", "no slices|no column|needs a column"),
    "UTF-16": ("a,b".encode("utf-16"), "codec"),
}


def _first_of(name: str) -> list[Case]:
    texts = {"junk": JUNK, "nested": NESTED.encode(), "null": b"null", "cut off": b'{"images": ['}
    return [Case(what, name, file("a.json", data), "is damaged") for what, data in texts.items()]


CASES = [
    *(Case(n, "lesion_dataset", _coco(c), s) for n, (c, s) in {**MASKS, **COCO}.items()),
    *(Case(n, "covidx_dataset", _covidx(c), s) for n, (c, s) in COVIDX.items()),
    *_first_of("lesion_dataset"),
    *_first_of("covidx_dataset"),
    *(
        Case(what, entry, file("list.csv", data), match)
        for what, (data, match) in LISTS.items()
        for entry in ("split_list", "pair_list", "metadata")
    ),
    Case(
        "a volume of junk",
        "volume_list",
        file("list.csv", "patient,image,mask\na,list.csv,list.csv\n"),
        "not DICOM",
    ),
    Case(
        "a name with a zero",
        "pair_list",
        file("list.csv", "patient,image,mask\na,x\0y.nii,z.nii\n"),
        "does not exist",
    ),
]
