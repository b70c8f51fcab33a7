"""Sorting DICOM images into scans.

A SeriesInstanceUID is not trusted: anonymisers drop it, repeat it, or give each file a different
one, and scanners store several acquisitions under one. Files of different patients, studies or
folders never belong to one scan. Images of another geometry and acquisitions that overlap in space
are separated; see :func:`group_series`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pydicom

from ct_lesion.errors import DatasetError

from ..scan import MISSING_SLICES, QCFinding
from .acquisitions import distinct, separate
from .candidates import SCOUT, Candidate, candidate
from .frames import images_of
from .headers import ACQUISITION_TAGS, PATIENT_TAGS, is_directory, read_header
from .images import DicomImage, files_of
from .steps import step_findings
from .values import text_of

_SCOUTS = ("localizer", "scout", "topogram", "surview", "scanogram")
_FEW = 4  # a scout recognised by its description, or a foreign group, has at most this many images
_MOST_KINDS = 100  # of images in a series; each image is compared with each kind
_SINGLE_SLICES = 3  # this many one-slice series in a folder are no coincidence


@dataclass(frozen=True)
class DicomSeries:
    """The images of one scan, or of a series that is not a CT scan.

    Attributes:
        uid: SeriesInstanceUID; empty if missing.
        number: SeriesNumber as text; empty if missing.
        part: distinguishes the scan from others of its series, for its name; may be empty.
        fault: why the series is not a CT scan; None if it may be one.
        damaged: whether a fault is always an error; otherwise the series may be skipped.
        findings: about the series and its files.
        first: header of the first image.
    """

    uid: str
    number: str
    description: str
    images: tuple[DicomImage, ...]
    fault: str | None = None
    damaged: bool = False
    part: str = ""
    findings: tuple[QCFinding, ...] = ()
    first: pydicom.Dataset = field(default_factory=pydicom.Dataset, repr=False, compare=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the images, each once."""
        return files_of(self.images)

    @property
    def label(self) -> str:
        """Text for messages."""
        about = f" ({self.description})" if self.description else ""
        frames = f", {len(self.images)} frames" if self.images[0].frame else ""
        return f"series {self.uid or 'without UID'}{about}, {len(self.files)} files{frames}"


def group_series(
    paths: Iterable[Path],
) -> tuple[list[DicomSeries], dict[Path, str], list[str]]:
    """Sort files into scans, ordered by the first image of each; each header is read once.

    - Images of another patient, study, SeriesInstanceUID or folder are separate scans. The frames
      of an enhanced file count like files.
    - Within these groups, images of another size, orientation or pixel spacing, and images that are
      not CT slices, are left out if they are few, and otherwise form a separate series.
    - Acquisitions (:data:`ACQUISITION_TAGS`) that overlap in space are separate scans; those that
      follow each other along the table are one.

    Returns:
        The series, the error of each unreadable file, and a note for each index (DICOMDIR).
    """
    groups: dict[tuple[str, ...], list[Candidate]] = defaultdict(list)
    unreadable, notes = {}, []
    for path in sorted(paths):
        try:
            header = read_header(path)
            images = images_of(path, header)
        except DatasetError as error:
            unreadable[path] = str(error)
            continue
        if is_directory(header):
            notes.append(f"{path}: skipped, an index of other files (DICOMDIR)")
            continue
        for image, tags in images:
            groups[_identity(path, tags)].append(candidate(image, tags))
    series = [one for members in groups.values() for one in _split(members)]
    series = _with_findings_across(series, groups)
    return sorted(series, key=lambda one: one.images[0]), unreadable, notes


def _identity(path: Path, header: pydicom.Dataset) -> tuple[str, ...]:
    """The folder, UIDs and patient that all slices of a scan have in common."""
    tags = ("SeriesInstanceUID", "StudyInstanceUID", *PATIENT_TAGS)
    return (str(path.parent), *(text_of(header, tag) for tag in tags))


def _split(members: list[Candidate]) -> list[DicomSeries]:
    """Split the images of one patient, study, series and folder into scans."""
    damage = next((file.damage for file in members if file.damage), None)
    if damage:
        return [_series(members, fault=damage, damaged=True)]
    alike: list[list[Candidate]] = []
    for file in members:
        fitting = (group for group in alike if file.difference(group[0]) is None)
        group = next(fitting, None)
        if group is not None:
            group.append(file)
        elif len(alike) < _MOST_KINDS:
            alike.append([file])
        else:
            fault = (
                f"{file.image}: {file.difference(members[0])}, and the images of its series have "
                f"more than {_MOST_KINDS} sizes, orientations or pixel spacings. Put the files of "
                "each scan into a separate folder."
            )
            return [_series(members, fault=fault, damaged=True)]
    parts = [part for group in alike for part in _acquisitions(group)]
    largest = max(parts, key=lambda part: (part[0][0].fault is None, len(part[0])))
    main, _ = largest
    few, scans = [], []
    for group, tag in parts:
        if group is not main and _are_few(group, main):
            few.append(group)
        else:
            scans.append((group, tag))
    if refusal := _refusal(few, main):
        return [_series(members, fault=refusal, damaged=True)]
    foreign = [file for group in few for file in group]
    series = []
    for group, tag in scans:
        findings = []
        if group is main and foreign:
            findings.append(_foreign_finding(foreign, main))
        if len(scans) > 1 and group[0].fault is None:
            findings.append(_split_finding(group, tag, len(scans)))
        series.append(_series(group, tag=tag, findings=findings))
    return series


def _series(
    files: Sequence[Candidate],
    fault: str | None = None,
    damaged: bool = False,
    tag: str | None = None,
    findings: Iterable[QCFinding] = (),
) -> DicomSeries:
    first = files[0].header
    description = text_of(first, "SeriesDescription")
    called_scout = any(word in description.lower() for word in _SCOUTS) and len(files) <= _FEW
    return DicomSeries(
        uid=text_of(first, "SeriesInstanceUID"),
        number=text_of(first, "SeriesNumber"),
        description=description,
        images=tuple(file.image for file in files),
        fault=fault or files[0].fault or (SCOUT if called_scout else None),
        damaged=damaged or "SeriesInstanceUID" not in first,
        part=f"acquisition{text_of(first, tag)}" if tag == "AcquisitionNumber" else "",
        findings=tuple(findings),
        first=first,
    )


# ---- foreign images in a series ----------------------------------------------------------------
def _are_few(group: list[Candidate], main: list[Candidate]) -> bool:
    """Whether a group is too small to be a scan beside the series' largest scan ``main``."""
    if main[0].fault is not None or len(group) > _FEW:
        return False
    other_acquisition = group[0].difference(main[0]) is None
    return 4 * len(group) <= len(main) or not other_acquisition


def _refusal(few: Sequence[list[Candidate]], main: Sequence[Candidate]) -> str | None:
    """The error if foreign images may be slices of the scan ``main`` with a damaged tag.

    Args:
        few: groups of foreign images.
    """
    for group in few:
        if 4 * len(group) > len(main) and group[0].fault != SCOUT:
            return (
                f"{group[0].image}: {_why_foreign(group[0], main)}. The files of its series do not "
                "fit together: repair or remove this file."
            )
    if not main[0].placed or len(main) < 2:
        return None
    if not any(f.code == MISSING_SLICES for f in step_findings(distinct(_depths(main)))):
        return None
    for file in (file for group in few for file in group):
        same_type = text_of(file.header, "ImageType") == text_of(main[0].header, "ImageType")
        if file.fault is None and same_type and not file.turned(main[0]):
            return (
                f"{file.image}: {_why_foreign(file, main)}, and the other {len(main)} files of its "
                "series lack a slice. Repair this file, or remove it to read the others."
            )
    return None


def _why_foreign(file: Candidate, main: Sequence[Candidate]) -> str:
    return file.difference(main[0]) or "at positions of other slices, of another acquisition"


def _foreign_finding(foreign: Sequence[Candidate], main: Sequence[Candidate]) -> QCFinding:
    what = "; ".join(f"{f.image.name} ({_why_foreign(f, main)})" for f in foreign)
    noun = "image was" if len(foreign) == 1 else "images were"
    return QCFinding("foreign_images", f"{len(foreign)} {noun} left out of the scan: {what}")


# ---- several acquisitions in a series -----------------------------------------------------------
def _acquisitions(files: list[Candidate]) -> list[tuple[list[Candidate], str | None]]:
    """Separate acquisitions that overlap in space; each with the tag that distinguishes it."""
    parts: list[tuple[list[Candidate], str | None]] = [(files, None)]
    if files[0].fault or not files[0].placed:
        return parts
    for tag in ACQUISITION_TAGS:
        parts = [
            ([part[i] for i in group], tag if len(groups) > 1 else earlier)
            for part, earlier in parts
            for groups in [separate([text_of(f.header, tag) for f in part], _depths(part))]
            for group in groups
        ]
    return parts


def _depths(files: Sequence[Candidate]) -> np.ndarray:
    """Positions along the normal of the slices, in mm."""
    normal = np.cross(*np.reshape(files[0].orientation, (2, 3)))
    return np.array([file.position for file in files]) @ normal


def _split_finding(group: Sequence[Candidate], tag: str | None, scans: int) -> QCFinding:
    content = f"overlapping acquisitions, {tag} differs" if tag else "images that do not fit"
    value = f" ({tag} {text_of(group[0].header, tag) or 'missing'})" if tag else ""
    return QCFinding(
        "split_series",
        f"the series holds {content}: read as {scans} scans, and this is one of them{value}",
    )


# ---- findings that concern several series -------------------------------------------------------
def _with_findings_across(
    series: list[DicomSeries], groups: dict[tuple[str, ...], list[Candidate]]
) -> list[DicomSeries]:
    """Add findings about missing, shared and needlessly different SeriesInstanceUIDs."""
    keys_of: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for key in groups:
        keys_of[key[1]].add(key)
    of_uid = {uid: [*_uid_findings(uid, keys)] for uid, keys in keys_of.items()}
    single = Counter(
        one.files[0].parent for one in series if len(one.images) == 1 and one.fault is None
    )
    complete = []
    for one in series:
        alone = single[one.files[0].parent] if len(one.images) == 1 else 0
        findings = [*of_uid[one.uid], *_single_slice_findings(alone)]
        complete.append(replace(one, findings=(*one.findings, *findings)))
    return complete


def _uid_findings(uid: str, keys: set[tuple[str, ...]]) -> Iterator[QCFinding]:
    """A finding if a UID is missing, or shared by several identities (:func:`_identity`)."""
    if not uid:
        yield QCFinding(
            "no_series_uid",
            "no SeriesInstanceUID: files of the same folder, patient and study count as a series",
        )
    elif len(keys) > 1:
        names = ("folder", "SeriesInstanceUID", "StudyInstanceUID", *PATIENT_TAGS)
        values = zip(*keys, strict=True)
        differ = [n for n, v in zip(names, values, strict=True) if len(set(v)) > 1]
        yield QCFinding(
            "shared_series_uid",
            f"{len(keys)} sets of files have the same SeriesInstanceUID, but differ in "
            f"{', '.join(differ)}: each set is read as a separate series",
        )


def _single_slice_findings(alone: int) -> Iterator[QCFinding]:
    """A finding if the folder of a one-slice series holds several, ``alone`` in total."""
    if alone >= _SINGLE_SLICES:
        yield QCFinding(
            "single_slice_series",
            f"{alone} files of the folder each have a different SeriesInstanceUID, so each is read "
            "as a scan of one slice; if an anonymiser replaced the UID, restore a common one",
        )
