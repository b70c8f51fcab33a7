"""Toy inputs for the audit: slices in memory, folders of pictures, a small COCO json."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from audit_toys import textured

from ct_lesion.audit.inputs.slices import AuditInput, AuditSlice


@pytest.fixture
def make_input() -> Callable[..., AuditInput]:
    """Makes an input from slices ``(patient, scan, slice[, label])``."""

    def make(group: str, slices: list[tuple], source: str = "one", name: str = "") -> AuditInput:
        made = [
            AuditSlice("_".join(map(str, s[:3])), patient=s[0], scan=s[1], label=(*s, None)[3])
            for s in slices
        ]
        return AuditInput(group, name or f"{group} list", "list", source, made)

    return make


@pytest.fixture
def write_pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes pictures ``{"patient/slice.png": pixels}`` below a folder."""

    def write(folder: str, pictures: dict[str, np.ndarray]) -> Path:
        for name, pixels in pictures.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
        return tmp_path / folder

    return write


@pytest.fixture
def write_coco(tmp_path: Path) -> Callable[..., Path]:
    """Writes a COCO json with one image of 64 x 48 pixels and the given annotations."""

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
