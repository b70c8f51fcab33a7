"""Reads lists of slices: COVIDx-CT lists, the paper's training sample, and lesion splits."""

from __future__ import annotations

import re
from pathlib import Path

from ct_lesion.data.datasets.covidx_lists import (
    DUPLICATE_LINES,
    IMAGE_CLASSES,
    PREFIXES,
    CTSlice,
    Problems,
    parse_line,
    parse_sample_line,
    read_list,
)
from ct_lesion.data.datasets.splits import read_split_list
from ct_lesion.data.prepare.covidx_images import TWO_FILES, index_images
from ct_lesion.errors import DatasetError, reason
from ct_lesion.folders import check_regular

from ..findings import Finding, NotChecked, Severity, part
from .slices import CLASS_SOURCE, LESION_SOURCE, AuditInput, AuditSlice

_SAMPLE_NAME = re.compile(rf"(?:[012]|{'|'.join(PREFIXES)})_[^_\s]+_[^_\s]+_[^_\s]+")
_ENDINGS = (".jpg", ".png", ".jpeg")


def read_slice_list(
    group: str, path: Path, images: Path | None, ids_per_class: bool = False
) -> AuditInput:
    """Read a list of slices, with or without their images.

    The first line shows the format: a COVIDx-CT list (six fields), a training sample
    (``0_1728_1013_0023.png``) or a lesion split (``<patient>_<slice>.jpg``).

    Raises:
        DatasetError: the file is not a list of slices.
    """
    first = _first_line(path)
    if len(first.split()) == 6:
        dataset = _read_covidx(group, path, images, ids_per_class, sample=False)
    elif _SAMPLE_NAME.fullmatch(first.split()[0].rsplit(".", 1)[0]):
        dataset = _read_covidx(group, path, images, ids_per_class, sample=True)
    else:
        dataset = _read_lesion_split(group, path, images)
    _report_missing_images(dataset, images)
    return dataset


def _first_line(path: Path) -> str:
    try:
        check_regular(path)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path} cannot be read as a list of slices ({reason(error)}). Give a text file."
        ) from None
    for line in lines:
        if line.strip() and not line.startswith("#"):
            return line
    raise DatasetError(f"{path}: the list contains no slices. Give a list with one slice per line.")


def _read_covidx(
    group: str, path: Path, images: Path | None, ids_per_class: bool, sample: bool
) -> AuditInput:
    problems = Problems()
    listed = read_list(path, problems, parse_sample_line if sample else parse_line)
    kind = "training sample" if sample else "COVIDx-CT list"
    dataset = AuditInput(group, path.name, kind, CLASS_SOURCE)
    found: dict[str, str] = {}
    if images:
        found, _ = index_images(images, {s.image_id for s in listed}, problems)
    for ct_slice in listed:
        name = found.get(ct_slice.image_id)
        image = images / name if images and name else None
        dataset.slices.append(class_slice(ct_slice, image, ids_per_class))
    dataset.findings = list_findings(dataset.name, problems)
    return dataset


def class_slice(ct_slice: CTSlice, image: Path | None, ids_per_class: bool = False) -> AuditSlice:
    """Make the slice of an entry of a COVIDx-CT list or a class folder."""
    return AuditSlice(
        key=ct_slice.image_id,
        image=image,
        patient=ct_slice.person(ids_per_class),
        scan=ct_slice.scan,
        label=IMAGE_CLASSES[ct_slice.label],
        body_box=ct_slice.body_box,
    )


def list_findings(name: str, problems: Problems) -> list[Finding]:
    """Make findings from the problems of a list or class folder, e.g. faulty lines.

    Args:
        name: name of the input.
        problems: found while reading it.
    """
    findings = []
    for problem, items in problems.by_kind().items():
        what = f"{name}: {problem}: {len(items):,}."
        if problem in (DUPLICATE_LINES, TWO_FILES):
            finding = Finding(
                Severity.WARNING,
                "listed_twice",
                what,
                items,
                "Keep one entry or file for each slice.",
            )
        else:
            finding = Finding(
                Severity.ERROR,
                "faulty_list",
                what,
                items,
                "Correct these entries; they were skipped.",
            )
        findings.append(finding)
    return findings


def _read_lesion_split(group: str, path: Path, images: Path | None) -> AuditInput:
    dataset = AuditInput(group, path.name, "lesion split list", LESION_SOURCE)
    for slice_id in read_split_list(path):
        image = _find_image(images, slice_id.patient, slice_id.slice) if images else None
        dataset.slices.append(
            AuditSlice(str(slice_id), image, patient=slice_id.patient, scan=slice_id.patient)
        )
    return dataset


def _find_image(root: Path, patient: str, name: str) -> Path | None:
    stems = (root / patient / name, root / "image" / patient / name, root / f"{patient}_{name}")
    # with_suffix would cut a name at its last dot
    paths = (stem.parent / f"{stem.name}{ending}" for stem in stems for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _report_missing_images(dataset: AuditInput, images: Path | None) -> None:
    if images is None:
        why = "only a list was given; LIST:IMAGES checks its images too"
        dataset.not_checked.append(NotChecked(f"images of {dataset.name}", why))
        return
    missing = [s.key for s in dataset.slices if not s.has_image]
    if missing:
        total = len(dataset.slices)
        what = f"{dataset.name}: {part(len(missing), total, 'slices', 'has no image')} in {images}."
        advice = "Complete the folder, or remove the slices from the list."
        dataset.findings.append(Finding(Severity.ERROR, "missing_files", what, missing, advice))
