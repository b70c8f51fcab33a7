"""Reads COCO json, the json of tools/prepare_covidx_ct.py, and registered datasets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.data.datasets.coco_files import unify_coco
from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.errors import DatasetError, reason
from ct_lesion.json_files import read_json

from ..findings import Finding, NotChecked, Severity, part
from .slices import CLASS_SOURCE, LESION_SOURCE, AuditInput, AuditSlice

_FAMILIES = {"cncb_": LESION_SOURCE, "covidx_ct_": CLASS_SOURCE}


def read_registered(group: str, name: str) -> AuditInput:
    """Read a dataset that is registered with Detectron2, from its json file if it has one.

    Raises:
        DatasetError: the json file or image folder is missing, or the json file is damaged.
    """
    error = None
    try:
        records = DatasetCatalog.get(name)
    except Exception as caught:  # Detectron2's loader may raise anything on faulty json
        records, error = [], caught
    metadata = MetadataCatalog.get(name)
    json_file, images = metadata.get("json_file"), metadata.get("image_root")
    source = next((s for prefix, s in _FAMILIES.items() if name.startswith(prefix)), None)
    has_json = json_file and images and Path(json_file).is_file()
    if isinstance(error, DatasetError) and not (has_json and Path(images).is_dir()):
        raise error
    if has_json:
        content = read_json(Path(json_file), dict, DatasetError)
        dataset = _read_coco(group, content, Path(images), name, source)
    else:
        dataset = AuditInput(group, name, "registered dataset", source or name)
        dataset.slices = _record_slices(records)
        if any("annotations" in record for record in records):
            why = "the dataset has no json file; only json annotations are checked"
            dataset.not_checked.append(NotChecked(f"annotations of {name}", why))
    if error:
        kind = "" if isinstance(error, DatasetError) else f"{type(error).__name__}: "
        what = f"{name}: the dataset cannot be loaded ({kind}{reason(error)})."
        advice = "Correct its json file; the other findings list the faults."
        dataset.findings.append(Finding(Severity.ERROR, "cannot_be_loaded", what, [name], advice))
    _report_missing(dataset)
    return dataset


def read_json_file(group: str, path: Path, images: Path | None) -> AuditInput:
    """Read a COCO json or a json file of tools/prepare_covidx_ct.py.

    Args:
        images: image folder; by default the folder named in the file, or ``images`` next to
            ``annotations``, or the folder of the file.

    Raises:
        DatasetError: the file is damaged or in neither format.
    """
    content = read_json(path, dict, DatasetError)
    if "image_root" in content and "classes" in content:
        dataset = AuditInput(group, path.name, "classification json", CLASS_SOURCE)
        dataset.slices = _record_slices(load_covidx_ct(path, images))
    elif "images" in content:
        dataset = _read_coco(group, content, images or _images_beside(path), path.name)
    else:
        raise DatasetError(
            f"{path} is neither COCO json (images, annotations, categories) nor written by "
            "ct-lesion prepare-covidx-ct. Choose another file."
        )
    _report_missing(dataset)
    return dataset


def _images_beside(path: Path) -> Path:
    """Find the image folder: ``../images``, which the preparation tools write, or the file's."""
    beside = path.parent.parent / "images"
    return beside if path.parent.name == "annotations" and beside.is_dir() else path.parent


def _read_coco(
    group: str,
    content: dict[str, Any],
    images: Path,
    name: str,
    source: str | None = None,
) -> AuditInput:
    """Read the image list of a COCO json; ``masks/annotations.py`` checks the annotations.

    Args:
        images: folder that the file names are relative to.
        source: see :class:`AuditInput`; by default the image folder.
    """
    unify_coco(content)
    dataset = AuditInput(group, name, "COCO json", source or str(images.resolve()), coco=content)
    dataset.slices = [
        _coco_slice(image, images)
        for image in list_of(content, "images")  # check_annotations() reports faulty ones
        if isinstance(image, dict) and isinstance(image.get("file_name"), str)
    ]
    return dataset


def list_of(content: dict[str, Any], key: str) -> list[Any]:
    """Get a list from a json object; empty if the value is missing or not a list."""
    items = content.get(key)
    return items if isinstance(items, list) else []


def _coco_slice(image: dict[str, Any], images: Path) -> AuditSlice:
    return AuditSlice(
        key=image["file_name"],
        image=images / image["file_name"],
        patient=_text(image.get("patient")),
        scan=_text(image.get("scan")),
        origin=_text(image.get("source")) or "",
        size=_size(image),
    )


def _record_slices(records: Iterable[dict[str, Any]]) -> list[AuditSlice]:
    return [
        AuditSlice(
            key=str(record.get("image_id", record["file_name"])),
            image=Path(record["file_name"]),
            patient=_text(record.get("patient")),
            scan=_text(record.get("scan")),
            label=IMAGE_CLASSES[record["label"]] if "label" in record else None,
            origin=_text(record.get("source")) or "",
            size=_size(record),
            body_box=tuple(record["body_box"]) if record.get("body_box") else None,
        )
        for record in records
    ]


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    whole = isinstance(width, int) and isinstance(height, int)
    return (width, height) if whole else None


def _report_missing(dataset: AuditInput) -> None:
    """Report missing image files and slices without a patient; slices lose missing files."""
    missing = {s.key for s in dataset.slices if s.image and not s.image.is_file()}
    if missing:
        total = len(dataset.slices)
        what = f"{dataset.name}: {part(len(missing), total, 'images', 'is missing')}."
        places = [str(s.image) for s in dataset.slices if s.key in missing]
        advice = "Complete the folder, or prepare the dataset again."
        dataset.findings.append(Finding(Severity.ERROR, "missing_files", what, places, advice))
        dataset.slices = [replace(s, image=None) if s.key in missing else s for s in dataset.slices]
    unnamed = sum(s.patient is None for s in dataset.slices)
    if unnamed:
        why = part(unnamed, len(dataset.slices), "records", "has no patient")
        dataset.not_checked.append(NotChecked(f"patients of {dataset.name}", why))
