"""Toy data for the tests: a small lesion archive in CNCB's layout, and datasets made from it."""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from toy_checkpoints import write_classifier, write_segmenter

from ct_lesion.data.datasets.cncb import register_cncb_lesion
from ct_lesion.data.datasets.lesion_coco import IMAGE_FOLDER, annotation_file
from ct_lesion.data.datasets.splits import split_by_patients
from ct_lesion.data.prepare.cncb import find_slices, prepare_cncb
from ct_lesion.data.prepare.cncb_archive import Archive

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
SIZE = 64  # pixels, both sides of a toy slice

# With more, the threads of small models and of pytest-xdist's workers wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest files first, so that the workers of pytest-xdist end at about the same time.
    items.sort(key=lambda item: item.path.parent.name not in ("tools", "engine"))


def pytest_configure(config: pytest.Config) -> None:
    # tests import tools from the checkout
    sys.path.insert(0, str(REPOSITORY))


def write_slice(folder: Path, patient: str, name: str, labels: np.ndarray) -> None:
    """Write a slice whose lesions are brighter than its lungs, and its label mask."""
    image = np.select([labels == 1, labels == 2, labels == 3], [40, 140, 220], 100)
    noise = np.random.default_rng(len(name)).normal(0, 4, labels.shape)
    grey = np.clip(image + noise, 0, 255).astype(np.uint8)
    for kind, ending, pixels in (("image", "jpg", grey), ("mask", "png", labels)):
        path = folder / kind / patient / f"{name}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)


def toy_labels(shift: int = 0, lesions: bool = True) -> np.ndarray:
    """A lung field, optionally with a GGO of 12 x 10 px and a consolidation of 8 x 9 px."""
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[6:58, 6:58] = 1
    if lesions:
        labels[12 + shift : 24 + shift, 10:20] = 2
        labels[34 - shift : 42 - shift, 36:45] = 3
    return labels


@pytest.fixture(scope="session")
def lesion_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients of three slices; the last slice of each has no lesion."""
    folder = tmp_path_factory.mktemp("archive") / "ct_lesion_seg"
    for patient in range(4):
        for index in range(3):
            write_slice(folder, str(patient), str(index), toy_labels(patient, index < 2))
    return folder


@pytest.fixture(scope="session")
def lesion_root(lesion_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``$DETECTRON2_DATASETS`` with the archive prepared in it, patients 2 and 3 held out."""
    root = tmp_path_factory.mktemp("datasets")
    archive = Archive(lesion_archive)
    pairs = find_slices(archive)
    split = split_by_patients([p.id for p in pairs], ["2", "3"])
    prepare_cncb(archive, pairs, split, root / "cncb", min_area=20)
    return root


@pytest.fixture
def datasets(lesion_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Points the shipped dataset names to the toy data."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(lesion_root))
    return lesion_root


@pytest.fixture
def register_toy(lesion_root: Path) -> Callable[[str, str, str], str]:
    """Registers a toy dataset under a name until the end of the test."""
    names = []

    def register(name: str, dataset: str = "cncb_lesion", split: str = "test") -> str:
        root = lesion_root / "cncb"
        json_file = root / annotation_file(dataset, split)
        register_cncb_lesion(name, str(json_file), str(root / IMAGE_FOLDER))
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def shared() -> Path:
    """The folder with real slices and reference results for comparison."""
    if not SHARED.is_dir():
        pytest.skip("no shared folder with reference data beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def segmenter_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of an untrained segmenter."""
    return write_segmenter(tmp_path_factory.mktemp("segmenter"))


@pytest.fixture(scope="session")
def classifier_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of an untrained classifier."""
    return write_classifier(tmp_path_factory.mktemp("classifier"))
