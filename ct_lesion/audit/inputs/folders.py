"""Folders as inputs: CNCB's lesion archive, CNCB's class tree, and scans of any kind."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ct_lesion.data.datasets.covidx_lists import Problems, parse_name
from ct_lesion.data.prepare.cncb_archive import Archive, pair_slices, read_labels
from ct_lesion.data.prepare.covidx_images import index_images
from ct_lesion.errors import DatasetError
from ct_lesion.scans.picture_stack import is_stack
from ct_lesion.scans.scan import ReadOptions
from ct_lesion.scans.sources import ScanSource, find_scans

from ..findings import Finding, NotChecked, Severity, count
from .lists import class_slice, problem_finding
from .slices import CLASS_SOURCE, AuditInput, AuditSlice


def read_folder(group: str, folder: Path, ids_per_class: bool = False) -> AuditInput:
    """A folder, by what lies in it.

    ``image/`` and ``mask/`` make it a lesion archive; names like ``NCP_96_1328_0032.png`` or
    ``NCP/96/1328/0032.png`` CNCB's classes; anything else is taken as scans, where the first
    folder of a picture, below the one given, is its patient.

    Raises:
        DatasetError: no slices in it.
    """
    if (folder / "image").is_dir() and (folder / "mask").is_dir():
        return _read_archive(group, folder)
    problems = Problems()
    found, unknown = index_images(folder, None, problems)
    if found:
        one = AuditInput(group, folder.resolve().name, "class folders", CLASS_SOURCE)
        one.slices = [
            class_slice(parse_name(f"{key}."), folder / found[key], ids_per_class)
            for key in sorted(found)
        ]
        one.findings = _tree_findings(one.name, unknown, problems)
        return one
    return _read_scans(group, folder)


def _read_archive(group: str, folder: Path) -> AuditInput:
    archive = Archive(folder)
    pairs, faults = pair_slices(archive)
    one = AuditInput(group, folder.resolve().name, "lesion archive", str(folder.resolve()))
    one.slices = [
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
        one.findings.append(
            Finding(
                Severity.ERROR,
                "image_or_mask_alone",
                f"{one.name}: {count(len(faults), 'file')} without a partner, or with two.",
                faults,
                "Each image needs one mask of the same patient and name. They were left out here.",
            )
        )
    return one


def _tree_findings(name: str, unknown: list[str], problems: Problems) -> list[Finding]:
    findings = [problem_finding(problem, items) for problem, items in problems.by_kind().items()]
    if unknown:
        findings.append(
            Finding(
                Severity.WARNING,
                "unknown_names",
                f"{name}: {count(len(unknown), 'image')} left out, not named "
                "<class>_<patient>_<scan>_<slice>.",
                unknown,
                "Rename or remove them.",
            )
        )
    return findings


def _read_scans(group: str, folder: Path) -> AuditInput:
    notes: list[str] = []
    one = AuditInput(group, folder.resolve().name, "scans", str(folder.resolve()))
    for source in find_scans([folder], options=ReadOptions(), notes=notes):
        if source.kind == "pictures" and not is_stack(source.files[0]):
            one.slices += _picture_slices(folder, source)
        else:
            _add_scan(one, source)
    if notes:
        one.findings.append(
            Finding(Severity.NOTE, "skipped_files", f"{one.name}: files were skipped.", notes)
        )
    if any(ct_slice.patient is None for ct_slice in one.slices):
        why = "pictures that lie directly in the folder name no patient"
        one.not_checked.append(NotChecked(f"patients of {one.name}", why))
    return one


def _picture_slices(folder: Path, source: ScanSource) -> list[AuditSlice]:
    slices = []
    for file in source.files:
        parts = file.relative_to(folder.absolute()).parts
        patient = parts[0] if len(parts) > 1 else None
        scan = None if patient is None else "/".join(parts[1:-1]) or patient
        slices.append(AuditSlice("/".join(parts), file, patient=patient, scan=scan))
    return slices


def _add_scan(one: AuditInput, source: ScanSource) -> None:
    """The slices of a volume, DICOM series or stack, which is opened for its size and patient."""
    try:
        scan = source.open()
    except DatasetError as error:
        one.findings.append(
            Finding(
                Severity.ERROR,
                "scan_cannot_be_read",
                str(error),
                [str(source.files[0])],
                "Repair or remove it.",
            )
        )
        return
    one.findings += [
        Finding(Severity.NOTE, f"scan_{found.code}", f"{scan.name}: {found.message}")
        for found in scan.qc
    ]
    one.slices += [
        AuditSlice(
            key=f"{scan.name}/{name}",
            pixels=partial(scan.grey, index),
            patient=scan.patient or scan.name,
            scan=scan.name,
        )
        for index, name in enumerate(scan.slice_names or map(str, range(len(scan))))
    ]
