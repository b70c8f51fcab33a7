"""From CNCB's lesion archive to images and COCO json files that Detectron2 trains on."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .cncb_archive import Archive, ArchiveSlice, SliceId, pair_slices, read_all_labels
from .errors import DatasetError
from .lesion_masks import MASK_TYPES, encode_mask, find_instances
from .patient_splits import SPLITS, Split, check_patients_apart

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


def find_slices(archive: Archive) -> list[ArchiveSlice]:
    """All slices of an archive.

    Raises:
        DatasetError: images without masks, masks without images, or slices that stand twice; then
            what is wrong inside the other files is named as well.
    """
    pairs, problems = pair_slices(archive)
    if problems:
        results = (result for _, result in read_all_labels(archive, _with_progress(pairs)))
        problems += [str(result) for result in results if isinstance(result, DatasetError)]
    _stop_at(archive, problems)
    return pairs


def prepare_cncb(
    archive: Archive,
    pairs: Sequence[ArchiveSlice],
    split: Split,
    output: str | Path,
    mask_types: Sequence[str] = tuple(MASK_TYPES),
    min_area: int = 100,
    overwrite: bool = False,
) -> dict[str, dict[str, SplitSummary]]:
    """Write ``images/<patient>/<slice>`` and one COCO json a mask type and split.

    Images are copied byte for byte; lesion-free slices are kept. All files are checked before
    anything is written, and the output appears at once or not at all.

    Args:
        archive: where the files are.
        pairs: its slices, from :func:`find_slices`.
        split: slices of ``train``, ``val`` and ``test``; without ``val`` the test split serves.
        output: folder to write to.
        mask_types: keys of ``MASK_TYPES``.
        min_area: lesions of fewer pixels are background.
        overwrite: replace what an earlier run wrote there.

    Returns:
        Summaries by dataset and split.

    Raises:
        DatasetError: a patient in two splits, faulty files (all of them named), or an output
            that exists.
    """
    check_patients_apart(split)
    output = Path(output)
    _check_output(output, overwrite)
    by_id = {pair.id: pair for pair in pairs}
    chosen = {name: [by_id[i] for i in sorted(split.get(name, []))] for name in SPLITS}
    labels = _read_checked(archive, [p for name in SPLITS for p in chosen[name]])
    chosen["val"] = chosen["val"] or chosen["test"]

    summaries: dict[str, dict[str, SplitSummary]] = {}
    with _written_at_once(output) as partial:
        _copy_images(archive, [by_id[i] for i in labels], partial / IMAGE_FOLDER)
        (partial / ANNOTATION_FOLDER).mkdir()
        for key in mask_types:
            dataset = MASK_TYPES[key].dataset
            for name in SPLITS:
                coco = _coco_json(chosen[name], labels, key, name, min_area)
                path = partial / annotation_file(dataset, name)
                path.write_text(json.dumps(coco), encoding="utf-8")
                summaries.setdefault(dataset, {})[name] = _summarise(coco)
    return summaries


def _read_checked(archive: Archive, pairs: Sequence[ArchiveSlice]) -> dict[SliceId, np.ndarray]:
    """Labels of all slices, or every fault there is."""
    labels, problems = {}, []
    for pair, result in read_all_labels(archive, _with_progress(pairs)):
        if isinstance(result, DatasetError):
            problems.append(str(result))
        else:
            labels[pair.id] = result
    _stop_at(archive, problems)
    return labels


def _with_progress(pairs: Sequence[ArchiveSlice]) -> tqdm:
    return tqdm(pairs, desc="reading slices", unit="slice", disable=None)


def _stop_at(archive: Archive, problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError(
            f"{archive.path}: {len(problems)} faulty files, nothing was written:\n"
            + "\n".join(f"  {problem}" for problem in problems)
        )


def _coco_json(
    pairs: Sequence[ArchiveSlice],
    labels: Mapping[SliceId, np.ndarray],
    mask_type: str,
    split: str,
    min_area: int,
) -> dict:
    """A dataset in COCO's format, with patient, scan, slice and lung field as image fields."""
    images, annotations = [], []
    for image_id, pair in enumerate(pairs, start=1):
        mask = labels[pair.id]
        images.append(_image_record(image_id, pair, mask))
        for instance in find_instances(mask, MASK_TYPES[mask_type], min_area):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": instance.class_index + 1,
                    "bbox": list(instance.box),
                    "area": instance.area,
                    "segmentation": instance.rle,
                    "iscrowd": 0,
                }
            )
    classes = MASK_TYPES[mask_type].classes
    return {
        "info": {
            "description": "CNCB chest CT lesions",
            "mask_type": mask_type,
            "split": split,
            "min_area": min_area,
        },
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
    }


def _image_record(image_id: int, pair: ArchiveSlice, mask: np.ndarray) -> dict:
    lung = mask > 0  # lesions lie in the lung, so they count as lung field too
    return {
        "id": image_id,
        "file_name": _image_name(pair),
        "height": int(mask.shape[0]),
        "width": int(mask.shape[1]),
        "patient": pair.id.patient,
        "scan": pair.id.patient,  # the archive holds one scan a patient
        "slice": pair.id.slice,
        "lung_area": int(lung.sum()),
        "lung_segmentation": encode_mask(lung),
    }


def _image_name(pair: ArchiveSlice) -> str:
    return f"{pair.id.patient}/{pair.id.slice}{Path(pair.image).suffix}"


def _copy_images(archive: Archive, pairs: Sequence[ArchiveSlice], folder: Path) -> None:
    for pair in tqdm(pairs, desc="copying images", unit="slice", disable=None):
        target = folder / _image_name(pair)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(pair.image))


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


def _check_output(output: Path, overwrite: bool) -> None:
    existing = [f for f in (IMAGE_FOLDER, ANNOTATION_FOLDER) if (output / f).exists()]
    if existing and not overwrite:
        raise DatasetError(
            f"{output}: holds {' and '.join(existing)} already. Choose another --output, or "
            "replace them with --overwrite."
        )


@contextmanager
def _written_at_once(output: Path) -> Iterator[Path]:
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
