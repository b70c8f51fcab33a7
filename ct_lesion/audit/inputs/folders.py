"""Folders as inputs: CNCB's lesion archive, CNCB's class folders, and scans of any kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ct_lesion.data.datasets.covidx_lists import Problems, parse_name
from ct_lesion.data.prepare.cncb_archive import Archive, pair_slices, read_labels
from ct_lesion.data.prepare.covidx_images import index_images
from ct_lesion.errors import DatasetError
from ct_lesion.scans.picture_stack import is_stack
from ct_lesion.scans.scan import INCOMPLETE, ReadOptions
from ct_lesion.scans.sources import ScanSource, find_scans

from ..findings import Finding, NotChecked, Severity, count
from .lists import class_slice, list_findings
from .slices import CLASS_SOURCE, AuditInput, AuditSlice


def read_folder(group: str, folder: Path, ids_per_class: bool = False) -> AuditInput:
    """Read a folder in the format that its content shows.

    A folder with ``image/`` and ``mask/`` is a lesion archive; files like ``NCP_96_1328_0032.png``
    or ``NCP/96/1328/0032.png`` make it CNCB's class folders; any other folder is read as scans, and
    the first folder level is the patient of a picture.

    Raises:
        DatasetError: the folder holds no slices.
    """
    if (folder / "image").is_dir() and (folder / "mask").is_dir():
        return _read_archive(group, folder)
    problems = Problems()
    found, unknown = index_images(folder, None, problems)
    if found:
        return _read_class_folders(group, folder, found, unknown, problems, ids_per_class)
    return _read_scans(group, folder)


def _read_archive(group: str, folder: Path) -> AuditInput:
    archive = Archive(folder)
    pairs, faults = pair_slices(archive)
    dataset = AuditInput(group, folder.resolve().name, "lesion archive", str(folder.resolve()))
    dataset.slices = [
        AuditSlice(
            key=str(pair.id),
            image=folder / pair.image,
            labels=partial(read_labels, archive, pair),
            patient=pair.id.patient,
            scan=pair.id.patient,
        )
        for pair in pairs
    ]
    if faults:
        number = count(len(faults), "image or mask", "images or masks")
        what = f"{dataset.name}: {number} cannot be paired."
        advice = "Give each image one mask of the same patient and name; these files were skipped."
        dataset.findings.append(
            Finding(Severity.ERROR, "image_or_mask_alone", what, faults, advice)
        )
    return dataset


def _read_class_folders(
    group: str,
    folder: Path,
    found: dict[str, str],
    unknown: list[str],
    problems: Problems,
    ids_per_class: bool,
) -> AuditInput:
    dataset = AuditInput(group, folder.resolve().name, "class folders", CLASS_SOURCE)
    dataset.slices = [
        class_slice(parse_name(f"{key}."), folder / found[key], ids_per_class)
        for key in sorted(found)
    ]
    dataset.findings = list_findings(dataset.name, problems)
    if unknown:
        what = (
            f"{dataset.name}: {count(len(unknown), 'image is', 'images are')} not named "
            "<class>_<patient>_<scan>_<slice>."
        )
        advice = "Rename or remove these images; they were skipped."
        dataset.findings.append(Finding(Severity.WARNING, "unknown_names", what, unknown, advice))
    return dataset


def _read_scans(group: str, folder: Path) -> AuditInput:
    notes: list[str] = []
    dataset = AuditInput(group, folder.resolve().name, "scans", str(folder.resolve()))
    for source in find_scans([folder], options=ReadOptions(), notes=notes):
        if source.kind == "pictures" and not is_stack(source.files[0]):
            dataset.slices += _picture_slices(folder, source)
        else:
            _add_scan(dataset, source)
    if notes:
        what = f"{dataset.name}: some files were skipped."
        dataset.findings.append(Finding(Severity.NOTE, "skipped_files", what, notes))
    if any(ct_slice.patient is None for ct_slice in dataset.slices):
        why = "pictures directly in the folder have no patient"
        dataset.not_checked.append(NotChecked(f"patients of {dataset.name}", why))
    return dataset


def _picture_slices(folder: Path, source: ScanSource) -> list[AuditSlice]:
    slices = []
    for file in source.files:
        parts = file.relative_to(folder.absolute()).parts
        patient = parts[0] if len(parts) > 1 else None
        scan = None if patient is None else "/".join(parts[1:-1]) or patient
        slices.append(AuditSlice("/".join(parts), file, patient=patient, scan=scan))
    return slices


def _add_scan(dataset: AuditInput, source: ScanSource) -> None:
    """Open a volume, DICOM series or stack, and add its slices and quality findings."""
    try:
        scan = source.open()
    except DatasetError as error:
        place = [str(source.files[0])]
        dataset.findings.append(unreadable_scan(error, place))
        return
    dataset.findings += [
        Finding(
            Severity.WARNING if found.code in INCOMPLETE else Severity.NOTE,
            f"scan_{found.code}",
            f"{scan.name}: {found.message}",
        )
        for found in scan.qc
    ]
    dataset.slices += [
        AuditSlice(
            key=f"{scan.name}/{name}",
            pixels=partial(scan.grey, index),
            patient=scan.patient or scan.name,
            scan=scan.name,
        )
        for index, name in enumerate(scan.slice_names or map(str, range(len(scan))))
    ]


def unreadable_scan(error: DatasetError, where: list[str]) -> Finding:
    """Make the finding for a volume, DICOM series or slice that cannot be read."""
    return Finding(
        Severity.ERROR, "scan_cannot_be_read", str(error), where, "Repair or remove the scan."
    )
