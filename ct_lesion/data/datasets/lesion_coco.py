"""Writes lesion datasets as COCO json, for all preparation tools.

The layout is ``images/<patient>/<slice>`` and ``annotations/<dataset>_<split>.json``. Each image
record has patient, scan, slice and, if known, the lung field.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError, reason
from ct_lesion.files import atomic_folders, settle_folders, write_new
from ct_lesion.scans.windows import Window

from .lesion_masks import BACKGROUND, MASK_TYPES, encode_mask, find_instances
from .splits import SliceId

IMAGE_FOLDER, ANNOTATION_FOLDER = "images", "annotations"


@dataclass(frozen=True)
class SplitSummary:
    """Contents of a split, for one mask type.

    Attributes:
        patients, slices: their numbers.
        lesion_free: slices without a lesion.
        areas: areas of the lesions of each class in pixels, by class name.
    """

    patients: int
    slices: int
    lesion_free: int
    areas: dict[str, list[int]]


def annotation_file(dataset: str, split: str) -> str:
    """Path of a json file in the output folder, e.g. ``annotations/cncb_lesion_train.json``."""
    return f"{ANNOTATION_FOLDER}/{dataset}_{split}.json"


class CocoDataset:
    """The COCO json of one mask type and split, filled slice by slice.

    Attributes:
        name: e.g. ``cncb_lesion``.
        split: ``train``, ``val`` or ``test``.
        json: content of the file.
    """

    def __init__(
        self, description: str, mask_type: str, split: str, min_area: int, window: Window
    ) -> None:
        """
        Args:
            description: text for the json's ``info``.
            mask_type: key of ``MASK_TYPES``.
            split: ``train``, ``val`` or ``test``.
            min_area: lesions of fewer pixels are background.
            window: how the images were made from HU.
        """
        self._mask_type, self._min_area = MASK_TYPES[mask_type], min_area
        self.name, self.split = self._mask_type.dataset, split
        self.json: dict = {
            "info": {
                "description": description,
                "mask_type": mask_type,
                "split": split,
                "min_area": min_area,
                "window": window.as_dict(),
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
            slice_id: its patient and name.
            file_name: name of its image, relative to the image folder.
            scan: name of its scan.
            labels: ``(H, W)`` uint8, values of :mod:`ct_lesion.data.datasets.lesion_masks`.
            lung_known: whether the labels include the lung field.
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
            lung = labels != BACKGROUND  # lesions lie in the lung field
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
        """Patients, slices and lesion areas of the slices added so far."""
        images, annotations = self.json["images"], self.json["annotations"]
        areas: dict[str, list[int]] = {name: [] for name in self._mask_type.classes}
        names = {category["id"]: category["name"] for category in self.json["categories"]}
        for annotation in annotations:
            areas[names[annotation["category_id"]]].append(annotation["area"])
        with_lesions = {annotation["image_id"] for annotation in annotations}
        return SplitSummary(
            patients=len({image["patient"] for image in images}),
            slices=len(images),
            lesion_free=len(images) - len(with_lesions),
            areas=areas,
        )


def write_annotations(
    folder: Path, datasets: Iterable[CocoDataset]
) -> dict[str, dict[str, SplitSummary]]:
    """Write the json file of each dataset.

    Returns:
        Summaries by dataset and split.
    """
    summaries: dict[str, dict[str, SplitSummary]] = {}
    for dataset in datasets:
        path = folder / Path(annotation_file(dataset.name, dataset.split)).name
        write_new(path, json.dumps(dataset.json))
        summaries.setdefault(dataset.name, {})[dataset.split] = dataset.summary()
    return summaries


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse to overwrite a dataset unless ``overwrite`` is given.

    Raises:
        DatasetError: ``output`` already holds a dataset.
    """
    settle_folders(*_folders(output))
    existing = [folder.name for folder in _folders(output) if folder.exists()]
    if existing and not overwrite:
        raise DatasetError(
            f"{output} already holds {' and '.join(existing)}. Choose another --output, or "
            "replace them with --overwrite."
        )


@contextmanager
def written_at_once(output: Path) -> Iterator[tuple[Path, Path]]:
    """Yield temporary folders for images and annotations.

    They replace the folders in ``output`` together if the block succeeds, and are deleted if it
    fails. A process killed while it replaces them leaves images without annotations, which nothing
    reads; the next preparation restores the earlier dataset or completes the new one.

    Raises:
        DatasetError: ``output`` cannot be written to.
    """
    with ExitStack() as stack:
        try:
            folders = stack.enter_context(atomic_folders(*_folders(output)))
        except OSError as error:
            raise DatasetError(
                f"{output} cannot be written to ({reason(error)}). Choose another --output."
            ) from None
        yield tuple(folders)


def _folders(output: Path) -> tuple[Path, Path]:
    return output / IMAGE_FOLDER, output / ANNOTATION_FOLDER
