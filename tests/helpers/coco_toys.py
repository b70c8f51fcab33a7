"""Small COCO ground truths of squares, for the tests of segmentation statistics."""

import contextlib
import io

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

SIDE = 64


def square(x: int, y: int, side: int) -> dict:
    """RLE of a square."""
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + side, x : x + side] = 1
    rle = coco_mask.encode(mask)
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def make_truth(lesions: dict[int, list[tuple[int, int, int]]], patients: dict[int, str]) -> COCO:
    """Squares (x, y, side) by image id, and the patient of each image."""
    annotations = [
        {
            "image_id": image_id,
            "category_id": 1,
            "segmentation": square(x, y, side),
            "area": side**2,
            "bbox": [x, y, side, side],
            "iscrowd": 0,
        }
        for image_id, squares in lesions.items()
        for x, y, side in squares
    ]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "categories": [{"id": 1, "name": "Lesion"}],
        "images": [
            {"id": i, "height": SIDE, "width": SIDE, "patient": p, "file_name": f"{p}/{i}.png"}
            for i, p in patients.items()
        ],
        "annotations": [{"id": i, **a} for i, a in enumerate(annotations, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def detection(image_id: int, score: float, x: int, y: int, side: int) -> dict:
    """A detected square."""
    return {
        "image_id": image_id,
        "category_id": 1,
        "score": score,
        "bbox": [x, y, side, side],
        "segmentation": square(x, y, side),
    }


def random_case(seed: int, images: int = 12) -> tuple[COCO, list[dict]]:
    """Lesions of three patients, displaced detections of most of them, and false detections."""
    rng = np.random.default_rng(seed)
    lesions = {
        i: [tuple(map(int, (*rng.integers(0, 40, 2), rng.integers(5, 20)))) for _ in range(i % 4)]
        for i in range(1, images + 1)
    }
    truth = make_truth(lesions, {i: f"p{i % 3}" for i in lesions})
    found = [
        detection(i, float(rng.uniform(0.3, 1)), x + int(rng.integers(0, 3)), y, side)
        for i, squares in lesions.items()
        for x, y, side in squares
        if rng.random() < 0.8
    ]
    false = [
        detection(int(i), float(rng.uniform(0, 0.7)), *map(int, rng.integers(0, 45, 2)), 9)
        for i in rng.integers(1, images + 1, 10)
    ]
    return truth, found + false
