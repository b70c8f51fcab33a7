"""Lesion datasets in COCO's json format, as all preparation tools write them.

``images/<patient>/<slice>`` and ``annotations/<dataset>_<split>.json``, whose images carry patient,
scan, slice and, where it is known, the lung field.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError

from .lesion_masks import MASK_TYPES, encode_mask, find_instances
from .splits import SliceId

IMAGE_FOLDER, ANNOTATION_FOLDER = "images", "annotations"


@dataclass(frozen=True)
class SplitSummary:
    """What a split holds, for one mask type.

    Attributes:
        areas: class name to the areas of its lesions in pixels.
    """

    patients: int
    slices: int
    lesion_free: int
    areas: dict[str, list[int]]


def annotation_file(dataset: str, split: str) -> str:
    """Path of a dataset's json file below the output folder; e.g. ``cncb_lesion``, ``train``."""
    return f"{ANNOTATION_FOLDER}/{dataset}_{split}.json"


class CocoDataset:
    """A dataset of one mask type and split that slices are added to."""

    def __init__(self, description: str, mask_type: str, split: str, min_area: int) -> None:
        """
        Args:
            description: for the json's ``info``.
            mask_type: key of ``MASK_TYPES``.
            split: ``train``, ``val`` or ``test``.
            min_area: lesions of fewer pixels are background.
        """
        self._mask_type, self._min_area = MASK_TYPES[mask_type], min_area
        self.json: dict = {
            "info": {
                "description": description,
                "mask_type": mask_type,
                "split": split,
                "min_area": min_area,
            },
            "images": [],
            "annotations": [],
            "categories": [
                {"id": i, "name": name} for i, name in enumerate(self._mask_type.classes, start=1)
            ],
        }

    def add(
        self, slice_id: SliceId, file_name: str, scan: str, labels: np.ndarray, lung_known: bool
    ) -> None:
        """Add a slice.

        Args:
            file_name: of its image, below the image folder.
            scan: the scan it belongs to.
            labels: ``(H, W)`` uint8, values of :mod:`ct_lesion.data.datasets.lesion_masks`.
            lung_known: whether the labels tell the lung field.
        """
        images, annotations = self.json["images"], self.json["annotations"]
        image = {
            "id": len(images) + 1,
            "file_name": file_name,
            "height": int(labels.shape[0]),
            "width": int(labels.shape[1]),
            "patient": slice_id.patient,
            "scan": scan,
            "slice": slice_id.slice,
        }
        if lung_known:
            lung = labels > 0  # lesions lie in the lung, so they count as lung field too
            image |= {"lung_area": int(lung.sum()), "lung_segmentation": encode_mask(lung)}
        images.append(image)
        for instance in find_instances(labels, self._mask_type, self._min_area):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": instance.class_index + 1,
                    "bbox": list(instance.box),
                    "area": instance.area,
                    "segmentation": instance.rle,
                    "iscrowd": 0,
                }
            )

    def summary(self) -> SplitSummary:
        """What was added."""
        return _summarise(self.json)


def _summarise(coco: dict) -> SplitSummary:
    areas: dict[str, list[int]] = {c["name"]: [] for c in coco["categories"]}
    names = {c["id"]: c["name"] for c in coco["categories"]}
    for annotation in coco["annotations"]:
        areas[names[annotation["category_id"]]].append(annotation["area"])
    with_lesions = {a["image_id"] for a in coco["annotations"]}
    return SplitSummary(
        patients=len({i["patient"] for i in coco["images"]}),
        slices=len(coco["images"]),
        lesion_free=len(coco["images"]) - len(with_lesions),
        areas=areas,
    )


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse to write where a dataset is already.

    Raises:
        DatasetError: one is, and it may not be replaced.
    """
    existing = [f for f in (IMAGE_FOLDER, ANNOTATION_FOLDER) if (output / f).exists()]
    if existing and not overwrite:
        raise DatasetError(
            f"{output}: holds {' and '.join(existing)} already. Choose another --output, or "
            "replace them with --overwrite."
        )


@contextmanager
def written_at_once(output: Path) -> Iterator[Path]:
    """A folder to fill, whose contents move to ``output`` at the end, or vanish on a failure."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=output))
    except OSError as error:
        raise DatasetError(f"{output}: cannot be written to ({error.strerror}).") from None
    try:
        yield partial
        for name in (IMAGE_FOLDER, ANNOTATION_FOLDER):
            if (output / name).exists():
                shutil.rmtree(output / name)
            (partial / name).rename(output / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
