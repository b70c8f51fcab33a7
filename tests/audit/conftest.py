"""Toy inputs for the audit: slices in memory, folders with faults, a small COCO json."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from ct_lesion.audit.slices import AuditInput, AuditSlice


@pytest.fixture
def make_input() -> Callable[..., AuditInput]:
    """Inputs of slices ``(patient, scan, slice)`` or ``(patient, scan, slice, label)``."""

    def make(group: str, slices: list[tuple], source: str = "one", name: str = "") -> AuditInput:
        made = [
            AuditSlice("_".join(map(str, s[:3])), patient=s[0], scan=s[1], label=(*s, None)[3])
            for s in slices
        ]
        return AuditInput(group, name or f"{group} list", "list", source, made)

    return make


def textured(seed: int, side: int = 64) -> np.ndarray:
    """A smooth random picture: like itself when it is changed a little, like no other."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    low, high = smooth.min(), smooth.max()
    return ((smooth - low) / (high - low) * 255).astype(np.uint8)


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``{"patient/slice.png": pixels}`` below a folder."""

    def write(folder: str, pictures: dict[str, np.ndarray]) -> Path:
        for name, pixels in pictures.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
        return tmp_path / folder

    return write


SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]
"""20 x 20 pixels."""


def good_annotation(**changes: object) -> dict:
    annotation = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [10, 10, 20, 20],
        "area": 400,
        "segmentation": SQUARE,
        "iscrowd": 0,
    }
    return {key: value for key, value in {**annotation, **changes}.items() if value is not None}


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """A COCO json of one image of 64 x 48 pixels with these annotations."""

    def write(*annotations: object, **changes: object) -> Path:
        content = {
            "images": [{"id": 1, "file_name": "7/1.png", "width": 64, "height": 48, "patient": 7}],
            "annotations": list(annotations),
            "categories": [{"id": 1, "name": "Lesion"}],
        } | changes
        (tmp_path / "7").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "7/1.png"), textured(0)[:48])
        path = tmp_path / "lesions.json"
        path.write_text(json.dumps(content))
        return path

    return write
