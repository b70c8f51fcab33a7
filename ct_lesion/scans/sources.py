"""Finding scans in files, folders and glob patterns, and opening them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ct_lesion.errors import DatasetError
from ct_lesion.zip_files import zip_of

from .dicom.grouping import DicomSeries, group_series
from .dicom.images import DicomImage
from .dicom.series import open_series
from .dicom.values import text_of
from .inputs import FoundFiles, take_input
from .names import MOST_NAMED, safe_name, unique_names
from .picture_stack import is_stack, open_pictures
from .quality import check_scan, lost_slices
from .scan import INCOMPLETE, QCFinding, ReadOptions, Scan
from .volume_files import files_of_volume, open_volume, volume_stem

LIST_COMMAND = "ct-lesion scans"
_STUDY = "StudyInstanceUID"
_RESERVED = ("index.html",)  # the page of a prediction, beside the folders of the scans


@dataclass(frozen=True)
class ScanSource:
    """A scan that was found but is not open yet.

    Attributes:
        name: safe as a folder name, and unique among the scans that were found.
        files: all files of the scan; those in a zip are paths below the zip.
        kind: ``dicom``, ``volume`` or ``pictures``.
        images: the images of a DICOM series.
        findings: about the files; they are passed on to the opened scan.
        fault: why the scan cannot be opened; None if no reason is known yet.
    """

    name: str
    files: tuple[Path, ...]
    kind: str
    options: ReadOptions = field(default_factory=ReadOptions, repr=False)
    images: tuple[DicomImage, ...] = field(default=(), repr=False)
    findings: tuple[QCFinding, ...] = ()
    fault: str | None = None

    @property
    def lost(self) -> list[str]:
        """Messages of the findings, known so far, that mark the scan as incomplete."""
        return [finding.message for finding in self.findings if finding.code in INCOMPLETE]

    def open(self) -> Scan:
        """Open the scan and run the quality checks.

        Raises:
            DatasetError: the scan cannot be used.
        """
        if self.fault:
            raise DatasetError(self.fault)
        try:
            scan = self._open()
            scan.qc = [*self.findings, *scan.qc, *check_scan(scan)]
        except OSError as error:
            why = error.strerror or error
            raise DatasetError(f"{self.files[0]} cannot be read ({why}). Check the file.") from None
        return scan

    def _open(self) -> Scan:
        if self.kind == "dicom":
            return open_series(self.name, self.images, self.options)
        if self.kind == "volume":
            return open_volume(self.name, self.files[0], self.options)
        return open_pictures(self.name, self.files, self.options)


def find_scans(
    inputs: Sequence[str | Path], *, options: ReadOptions, notes: list[str] | None = None
) -> list[ScanSource]:
    """Find the scans in the inputs; order and names are reproducible.

    Each DICOM series, volume file and TIFF with several pages is a scan; the other pictures of a
    folder together are one scan. Folders are searched recursively.

    Args:
        inputs: files, folders and glob patterns.
        options: options for opening the scans; ``series_uid`` selects DICOM series.
        notes: a list to which a line for each kind of skipped file is appended.

    Raises:
        DatasetError: an input does not exist, a named file has an unsupported kind, or no scan was
            found.
    """
    found = FoundFiles()
    for item in inputs:
        take_input(str(item), found)
    candidates = [
        *_dicom_sources(found, options),
        *_volume_sources(found, options),
        *_picture_sources(found, options),
    ]
    if notes is not None:
        notes.extend(found.notes)
    if not candidates:
        what = ", ".join(str(item) for item in inputs) or "no input"
        reasons = "; ".join(note.rstrip(".") for note in found.notes[:MOST_NAMED])
        raise DatasetError(
            f"{what}: no scan found. Give DICOM, NIfTI, NRRD, MetaImage, PNG, JPG or TIFF files"
            + (f" ({reasons})." if reasons else ".")
        )
    names = unique_names((safe_name(source.name) for source in candidates), _RESERVED)
    return [replace(s, name=name) for s, name in zip(candidates, names, strict=True)]


def open_scan(path: str | Path, options: ReadOptions | None = None) -> Scan:
    """Open the only scan at a path.

    Raises:
        DatasetError: there is no scan or more than one, or the scan cannot be used.
    """
    notes: list[str] = []
    sources = find_scans([path], options=options or ReadOptions(), notes=notes)
    if len(sources) > 1:
        names = ", ".join(source.name for source in sources[:MOST_NAMED])
        names += ", ..." if len(sources) > MOST_NAMED else ""
        raise DatasetError(
            f"{path}: {len(sources)} scans ({names}), expected one. Give the path of one scan; "
            f"`{LIST_COMMAND} {path}` lists DICOM series."
        )
    scan = sources[0].open()
    scan.notes[:0] = notes
    return scan


def _dicom_sources(found: FoundFiles, options: ReadOptions) -> list[ScanSource]:
    series, unreadable, notes = group_series(found.dicom)
    found.notes += notes
    if options.series_uid is not None:
        uids = {s.uid for s in series}
        if missing := [uid for uid in options.series_uid if uid not in uids]:
            labels = [s.label for s in series if s.uid] or ["no DICOM series"]
            more = f"; and more, see `{LIST_COMMAND}`" if len(labels) > MOST_NAMED else ""
            raise DatasetError(
                f"--series-uid {missing[0]} was not found. The inputs hold "
                f"{'; '.join(labels[:MOST_NAMED])}{more}."
            )
        series = [s for s in series if s.uid in options.series_uid]
        unreadable = {}
    usable: list[DicomSeries] = []
    for one in series:
        # a series that is not CT is only an error if the user named a file of it
        if one.fault and not one.damaged and not found.named.intersection(one.files):
            found.notes.append(f"{one.label}: skipped, {one.fault}")
        else:
            usable.append(one)
    found.notes += _reconstruction_notes(usable)
    cut_off = [one.files[0] for one in usable if one.fault and not one.uid]
    lost = [*found.unreadable, *unreadable, *cut_off]
    findings_of = lost_slices([one.files for one in usable], lost, found.unreadable_folders)
    places = [one.files[0].parent for one in usable]
    counts = Counter(places)
    sources = [
        ScanSource(
            name=_series_name(one, found.dicom[one.files[0]], counts[place] > 1),
            files=one.files,
            images=one.images,
            kind="dicom",
            options=options,
            findings=(*one.findings, *findings),
            fault=one.fault and _with_file(one.fault, one.images[0]),
        )
        for one, place, findings in zip(usable, places, findings_of, strict=True)
    ]
    return sources + [
        ScanSource(_name_from(path, found.dicom[path]), (path,), "dicom", options, fault=fault)
        for path, fault in unreadable.items()
    ]


def _reconstruction_notes(series: Sequence[DicomSeries]) -> list[str]:
    """A note for each folder with several CT series of a patient and study."""
    groups: dict[tuple[str, ...], int] = Counter(
        (str(s.files[0].parent), *(text_of(s.first, tag) for tag in ("PatientID", _STUDY)))
        for s in series
        if not s.fault
    )
    return [
        f"{place}: {count} CT series of one patient and study, perhaps reconstructions of one "
        f"scan; each is read. `{LIST_COMMAND} {zip_of(Path(place)) or place}` lists them, and "
        "--series-uid selects some"
        for (place, *_), count in groups.items()
        if count > 1
    ]


def _with_file(fault: str, image: DicomImage) -> str:
    return fault if str(image.path.parent) in fault else f"{image}: {fault}."


def _series_name(series: DicomSeries, root: Path, shared: bool) -> str:
    """The name of a series: its folder, and its number and part if needed.

    Args:
        root: folder that the name is relative to.
        shared: whether the folder holds other scans too.
    """
    name = _name_from(series.files[0].parent, root)
    if shared and series.number:
        name = f"{name}-series{series.number}"
    return f"{name}-{series.part}" if shared and series.part else name


def _volume_sources(found: FoundFiles, options: ReadOptions) -> list[ScanSource]:
    return [
        ScanSource(
            name=_name_from(path.with_name(volume_stem(path)), root),
            files=files_of_volume(path),
            kind="volume",
            options=options,
        )
        for path, root in found.volumes.items()
    ]


def _picture_sources(found: FoundFiles, options: ReadOptions) -> list[ScanSource]:
    stacks = {path: None for path in found.pictures if is_stack(path)}  # in order
    folders: dict[Path, list[Path]] = {}
    for path in found.pictures:
        if path not in stacks:
            folders.setdefault(path.parent, []).append(path)
    lost = lost_slices([*folders.values()], found.unreadable, found.unreadable_folders)
    sources = [
        (_name_from(folder, found.pictures[files[0]]), files, tuple(findings))
        for (folder, files), findings in zip(folders.items(), lost, strict=True)
    ]
    sources += [
        (_name_from(path.with_suffix(""), found.pictures[path]), [path], ()) for path in stacks
    ]
    return [
        ScanSource(name, tuple(files), "pictures", options, findings=findings)
        for name, files, findings in sources
    ]


def _name_from(path: Path, root: Path) -> str:
    """A path relative to the input's folder, joined by dashes, e.g. ``NCP-12-1``."""
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return "-".join(parts) or path.name
