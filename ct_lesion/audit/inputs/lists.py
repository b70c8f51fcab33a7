"""Lists of slices as inputs: COVIDx-CT's, the paper's training sample, and lesion splits."""

from __future__ import annotations

import re
from pathlib import Path

from ct_lesion.data.datasets.covidx_lists import (
    IMAGE_CLASSES,
    PREFIXES,
    CTSlice,
    Problems,
    parse_line,
    parse_sample_line,
    read_list,
)
from ct_lesion.data.datasets.splits import read_split_list
from ct_lesion.data.prepare.covidx_images import index_images
from ct_lesion.errors import DatasetError

from ..findings import Finding, NotChecked, Severity, count
from .slices import CLASS_SOURCE, LESION_SOURCE, AuditInput, AuditSlice

_SAMPLE_NAME = re.compile(rf"(?:[012]|{'|'.join(PREFIXES)})_[^_\s]+_[^_\s]+_[^_\s]+")
_ENDINGS = (".jpg", ".png", ".jpeg")


def read_slice_list(
    group: str, path: Path, images: Path | None, ids_per_class: bool = False
) -> AuditInput:
    """A list of slices, with or without their images.

    The form is told from the first line: that of a COVIDx-CT list (six fields), of a training
    sample (``0_1728_1013_0023.png``) or of a lesion split (``<patient>_<slice>.jpg``).

    Raises:
        DatasetError: it cannot be read as a list.
    """
    first = _first_line(path)
    if len(first.split()) == 6:
        return _read_covidx(group, path, images, ids_per_class, sample=False)
    if _SAMPLE_NAME.fullmatch(first.split()[0].rsplit(".", 1)[0]):
        return _read_covidx(group, path, images, ids_per_class, sample=True)
    return _read_lesion_split(group, path, images)


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of slices ({error}).") from None
    for line in lines:
        if line.strip() and not line.startswith("#"):
            return line
    raise DatasetError(f"{path}: no slices in this list.")


def _read_covidx(
    group: str, path: Path, images: Path | None, ids_per_class: bool, sample: bool
) -> AuditInput:
    problems = Problems()
    listed = read_list(path, problems, parse_sample_line if sample else parse_line)
    kind = "training sample" if sample else "COVIDx-CT list"
    one = AuditInput(group, path.name, kind, CLASS_SOURCE)
    found: dict[str, str] = {}
    if images:
        found, _ = index_images(images, {s.image_id for s in listed}, problems)
    one.slices = [
        class_slice(
            s, images / found[s.image_id] if images and s.image_id in found else None, ids_per_class
        )
        for s in listed
    ]
    one.findings = [
        problem_finding(problem, items) for problem, items in problems.by_kind().items()
    ]
    _note_images(one, images)
    return one


def class_slice(ct_slice: CTSlice, image: Path | None, ids_per_class: bool = False) -> AuditSlice:
    """A slice of CNCB's classes."""
    return AuditSlice(
        key=ct_slice.image_id,
        image=image,
        patient=ct_slice.person(ids_per_class),
        scan=ct_slice.scan,
        label=IMAGE_CLASSES[ct_slice.label],
        body_box=ct_slice.body_box,
    )


def problem_finding(problem: str, items: list[str]) -> Finding:
    """What a reader of lists and folders told, e.g. faulty lines."""
    twice = "duplicate" in problem or "two files" in problem
    return Finding(
        Severity.WARNING if twice else Severity.ERROR,
        "listed_twice" if twice else "faulty_list",
        f"{problem}: {len(items):,}.",
        items,
        "Remove all but one." if twice else "Correct these lines; they were left out here.",
    )


def _read_lesion_split(group: str, path: Path, images: Path | None) -> AuditInput:
    one = AuditInput(group, path.name, "lesion split list", LESION_SOURCE)
    for slice_id in read_split_list(path):
        image = _find_image(images, slice_id.patient, slice_id.slice) if images else None
        one.slices.append(
            AuditSlice(str(slice_id), image, patient=slice_id.patient, scan=slice_id.patient)
        )
    _note_images(one, images)
    return one


def _find_image(root: Path, patient: str, name: str) -> Path | None:
    stems = (root / patient / name, root / "image" / patient / name, root / f"{patient}_{name}")
    # not with_suffix, which would cut a name at its last point
    paths = (stem.parent / f"{stem.name}{ending}" for stem in stems for ending in _ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _note_images(one: AuditInput, images: Path | None) -> None:
    """Say what is not there."""
    if images is None:
        why = "only a list was given; LIST:IMAGES says where its images are"
        one.not_checked.append(NotChecked(f"images of {one.name}", why))
        return
    missing = [ct_slice.key for ct_slice in one.slices if not ct_slice.has_image]
    if missing:
        one.findings.append(
            Finding(
                Severity.ERROR,
                "missing_files",
                f"{one.name}: {count(len(missing), 'listed slice')} of {len(one.slices):,} "
                f"{'is' if len(missing) == 1 else 'are'} not below {images}.",
                missing,
                "Complete the folder, or take the slices off the list.",
            )
        )
