"""Json files as inputs: COCO's, tools/prepare_covidx_ct.py's, and datasets that are registered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.datasets.covidx_lists import IMAGE_CLASSES
from ct_lesion.errors import DatasetError, reason
from ct_lesion.json_files import read_json

from ..findings import Finding, NotChecked, Severity, count
from .slices import CLASS_SOURCE, LESION_SOURCE, AuditInput, AuditSlice

_FAMILIES = {"cncb_": LESION_SOURCE, "covidx_ct_": CLASS_SOURCE}


def read_registered(group: str, name: str) -> AuditInput:
    """A dataset that is registered with Detectron2, by its json file where it has one.

    Raises:
        DatasetError: it is not there.
    """
    error = None
    try:
        records = DatasetCatalog.get(name)
    except Exception as caught:  # Detectron2's loader asserts, or fails on what it reads
        records, error = [], caught
    metadata = MetadataCatalog.get(name)
    json_file, images = metadata.get("json_file"), metadata.get("image_root")
    source = next((s for start, s in _FAMILIES.items() if name.startswith(start)), None)
    has_json = json_file and images and Path(json_file).is_file()
    if isinstance(error, DatasetError) and not (has_json and Path(images).is_dir()):
        raise error
    if has_json:
        one = read_coco(group, Path(json_file), Path(images), name, source)
    else:
        one = AuditInput(group, name, "registered dataset", source or name)
        one.slices = _record_slices(records)
        if any("annotations" in record for record in records):
            why = "the dataset has no json file, whose annotations could be looked at"
            one.not_checked.append(NotChecked(f"annotations of {name}", why))
    if error:
        kind = "" if isinstance(error, DatasetError) else f"{type(error).__name__}: "
        one.findings.append(
            Finding(
                Severity.ERROR,
                "cannot_be_loaded",
                f"{name}: this dataset cannot be loaded ({kind}{reason(error)}).",
                [name],
                "See the other findings about its json file.",
            )
        )
    _find_missing(one)
    return one


def read_json_file(group: str, path: Path, images: Path | None) -> AuditInput:
    """A json file of either kind.

    Args:
        images: where its images are, if it does not say so itself.

    Raises:
        DatasetError: it is of no kind that is known, or its images are nowhere.
    """
    content = read_json(path, dict, DatasetError)
    if "image_root" in content and "classes" in content:
        one = AuditInput(group, path.name, "classification json", CLASS_SOURCE)
        one.slices = _record_slices(load_covidx_ct(path, images))
    elif "images" in content:
        one = read_coco(group, path, images or _images_beside(path), path.name, content=content)
    else:
        raise DatasetError(
            f"{path}: neither COCO json (images, annotations, categories) nor a file of "
            "tools/prepare_covidx_ct.py."
        )
    _find_missing(one)
    return one


def _images_beside(path: Path) -> Path:
    """``../images``, as the preparation tools write it, or the file's own folder."""
    beside = path.parent.parent / "images"
    return beside if path.parent.name == "annotations" and beside.is_dir() else path.parent


def read_coco(
    group: str,
    path: Path,
    images: Path,
    name: str,
    source: str | None = None,
    content: dict[str, Any] | None = None,
) -> AuditInput:
    """A COCO json; its annotations are looked at later.

    Args:
        images: folder that the file names are relative to.
        source: see :class:`AuditInput`; by default the folder of the images.
        content: of the file, if it is read already.
    """
    content = content or read_json(path, dict, DatasetError)
    one = AuditInput(group, name, "COCO json", source or str(images.resolve()), coco=content)
    one.slices = [
        _coco_slice(image, images)
        for image in list_of(content, "images")  # check_annotations() reports faulty ones
        if isinstance(image, dict) and isinstance(image.get("file_name"), str)
    ]
    return one


def list_of(content: dict[str, Any], key: str) -> list[Any]:
    """A list of a json object; empty where it is something else."""
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


def _find_missing(one: AuditInput) -> None:
    """Tell the files that are not there, and go on without them."""
    missing = {s.key for s in one.slices if s.image and not s.image.is_file()}
    if missing:
        one.findings.append(
            Finding(
                Severity.ERROR,
                "missing_files",
                f"{one.name}: {count(len(missing), 'image')} of {len(one.slices):,} "
                f"{'is' if len(missing) == 1 else 'are'} not there.",
                [str(s.image) for s in one.slices if s.key in missing],
                "Complete the folder, or prepare the dataset again.",
            )
        )
        one.slices = [replace(s, image=None) if s.key in missing else s for s in one.slices]
    unnamed = sum(s.patient is None for s in one.slices)
    if unnamed:
        why = f"{count(unnamed, 'record')} of {len(one.slices):,} without a patient"
        one.not_checked.append(NotChecked(f"patients of {one.name}", why))
