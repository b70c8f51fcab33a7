"""Finding scans among files, folders and glob patterns, and opening them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ct_lesion.errors import DatasetError
from ct_lesion.folders import walk_folder

from .dicom.grouping import DicomSeries, group_series
from .dicom.headers import is_dicom_file
from .dicom.series import open_series
from .names import natural_key, safe_name, some_names, unique_names
from .picture_stack import is_picture_file, is_stack, open_pictures
from .quality import check_scan, lost_slices
from .scan import INCOMPLETE, QCFinding, ReadOptions, Scan
from .volume_files import files_of_volume, is_volume_file, open_volume, volume_stem

_OPENERS: dict[str, Callable[[str, tuple[Path, ...], ReadOptions], Scan]] = {
    "dicom": open_series,
    "volume": lambda name, files, options: open_volume(name, files[0], options),
    "pictures": open_pictures,
}
_MOST_NAMED = 3  # scans and notes in an error
_RESERVED = ("index.html",)  # the page of a prediction, beside the folders of the scans


@dataclass(frozen=True)
class ScanSource:
    """A scan that was found but is not open yet.

    Attributes:
        name: safe as a folder name, unique among the scans that were found.
        files: all files of the scan.
        kind: ``dicom``, ``volume`` or ``pictures``.
        findings: about its files, for the opened scan.
        fault: why it cannot be opened; None if that is not known yet.
    """

    name: str
    files: tuple[Path, ...]
    kind: str
    options: ReadOptions = field(default_factory=ReadOptions, repr=False)
    findings: tuple[QCFinding, ...] = ()
    fault: str | None = None

    @property
    def lost(self) -> list[str]:
        """Messages of the findings that make the scan incomplete, as far as they are known."""
        return [finding.message for finding in self.findings if finding.code in INCOMPLETE]

    def open(self) -> Scan:
        """Open the scan and run the quality checks.

        Raises:
            DatasetError: the scan cannot be used.
        """
        if self.fault:
            raise DatasetError(self.fault)
        try:
            scan = _OPENERS[self.kind](self.name, self.files, self.options)
            scan.qc = [*self.findings, *scan.qc, *check_scan(scan)]
        except OSError as error:
            raise DatasetError(f"{self.files[0]}: {error.strerror or error}.") from None
        return scan


@dataclass
class _Found:
    """Files of the inputs by kind, each with the folder that its name is relative to."""

    dicom: dict[Path, Path] = field(default_factory=dict)
    volumes: dict[Path, Path] = field(default_factory=dict)
    pictures: dict[Path, Path] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    """Files that the user named individually: an error if unusable, never skipped."""
    unreadable: list[Path] = field(default_factory=list)
    """Empty or unreadable files and broken links: lost slices, if they lie beside slices."""
    unreadable_folders: list[Path] = field(default_factory=list)
    """They may hold slices of the scan in the folder that they lie in."""
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path, root: Path) -> bool:
        """Add a file; returns False if its kind is not supported."""
        if is_volume_file(path):
            self.volumes.setdefault(path, root)
        elif is_picture_file(path):
            self.pictures.setdefault(path, root)
        elif is_dicom_file(path):
            self.dicom.setdefault(path, root)
        else:
            return False
        return True


def find_scans(
    inputs: Sequence[str | Path], *, options: ReadOptions, notes: list[str] | None = None
) -> list[ScanSource]:
    """Find the scans in the inputs; order and names are reproducible.

    Each DICOM series, volume file and TIFF with several pages is a scan; the other pictures of a
    folder together are one scan. Folders are searched recursively.

    Args:
        inputs: files, folders and glob patterns.
        options: for opening the scans; ``series_uid`` selects a DICOM series.
        notes: receives a line about skipped files.

    Raises:
        DatasetError: an input does not exist, a named file has an unsupported kind, or there is no
            scan.
    """
    found = _Found()
    for item in inputs:
        _take_input(str(item), found)
    candidates = [
        *_dicom_sources(found, options),
        *_volume_sources(found, options),
        *_picture_sources(found, options),
    ]
    if notes is not None:
        notes.extend(found.notes)
    if not candidates:
        what = ", ".join(str(item) for item in inputs) or "no input"
        reasons = "; ".join(note.rstrip(".") for note in found.notes[:_MOST_NAMED])
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
        names = ", ".join(source.name for source in sources[:_MOST_NAMED])
        raise DatasetError(f"{path}: {len(sources)} scans ({names}, ...), expected one.")
    scan = sources[0].open()
    scan.notes[:0] = notes
    return scan


def _take_input(item: str, found: _Found) -> None:
    path = Path(item).expanduser()
    if path.is_dir():
        _take_folder(path, found)
    elif path.is_file():
        path = path.absolute()
        if not found.add(path, path.parent):
            raise DatasetError(f"{item}: not DICOM, NIfTI, NRRD, MetaImage, PNG, JPG or TIFF.")
        found.named.add(path)
    elif glob.has_magic(item):
        # Path.glob takes no absolute pattern
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        if not matches:
            raise DatasetError(f"{item}: no file matches this pattern.")
        for folder in (match for match in matches if match.is_dir()):
            _take_folder(folder, found)
        _take_files(item, [m.absolute() for m in matches if m.is_file()], None, found)
    else:
        raise DatasetError(f"{item}: no such file or folder.")


def _take_folder(folder: Path, found: _Found) -> None:
    def unreadable(error: OSError) -> None:
        found.unreadable_folders.append(Path(error.filename).absolute())
        found.notes.append(f"{error.filename}: folder cannot be read ({error.strerror})")

    walk = walk_folder(folder, unreadable)
    paths = [(place / name).absolute() for place, names in walk for name in names]
    _take_files(str(folder), paths, folder.absolute(), found)


def _take_files(item: str, paths: Iterable[Path], root: Path | None, found: _Found) -> None:
    """Add supported files; names are relative to ``root``, or to each file's folder."""
    skipped = []
    for path in sorted(paths, key=lambda path: natural_key(str(path))):
        hidden = path.name.startswith(".") or "__MACOSX" in path.parts
        if hidden:
            continue
        # skip broken links, and pipes, which would block
        if not path.is_file() or not found.add(path, root or path.parent):
            skipped.append(path)
    voxels = {file for volume in found.volumes for file in files_of_volume(volume)}
    skipped = [path for path in skipped if path not in voxels]
    unreadable = {path: None for path in skipped if _is_unreadable(path)}  # in order
    found.unreadable += unreadable
    for paths, what in (
        ([*unreadable], "files that cannot be read (empty, broken links, pipes, no permission)"),
        ([path for path in skipped if path not in unreadable], "files of other kinds"),
    ):
        if paths:
            found.notes.append(f"{item}: skipped {len(paths)} {what}: {some_names(paths)}")


def _is_unreadable(path: Path) -> bool:
    return not path.is_file() or path.stat().st_size == 0 or not os.access(path, os.R_OK)


def _dicom_sources(found: _Found, options: ReadOptions) -> list[ScanSource]:
    series, unreadable, notes = group_series(found.dicom)
    found.notes += notes
    if options.series_uid is not None:
        there = "; ".join(s.label for s in series if s.uid) or "no DICOM series"
        series = [s for s in series if s.uid == options.series_uid]
        unreadable = {}
        if not series:
            raise DatasetError(f"--series-uid {options.series_uid}: not found, there is {there}.")
    usable: list[DicomSeries] = []
    for one in series:
        # a series that is not CT is only an error if it was named
        if one.fault and not one.damaged and not found.named.intersection(one.files):
            found.notes.append(f"{one.label}: skipped, {one.fault}")
        else:
            usable.append(one)
    cut_off = [one.files[0] for one in usable if one.fault and not one.uid]
    lost = [*found.unreadable, *unreadable, *cut_off]
    findings_of = lost_slices([one.files for one in usable], lost, found.unreadable_folders)
    places = [one.files[0].parent for one in usable]
    counts = Counter(places)
    sources = [
        ScanSource(
            name=_series_name(one, found.dicom[one.files[0]], counts[place] > 1),
            files=one.files,
            kind="dicom",
            options=options,
            findings=(*one.findings, *findings),
            fault=one.fault and _with_file(one.fault, one.files[0]),
        )
        for one, place, findings in zip(usable, places, findings_of, strict=True)
    ]
    return sources + [
        ScanSource(_name_from(path, found.dicom[path]), (path,), "dicom", options, fault=fault)
        for path, fault in unreadable.items()
    ]


def _with_file(fault: str, file: Path) -> str:
    return fault if str(file.parent) in fault else f"{file}: {fault}."


def _series_name(series: DicomSeries, root: Path, shared: bool) -> str:
    """
    Args:
        root: folder that the name is relative to.
        shared: the folder holds other scans too.
    """
    name = _name_from(series.files[0].parent, root)
    if shared and series.number:
        name = f"{name}-series{series.number}"
    return f"{name}-{series.part}" if shared and series.part else name


def _volume_sources(found: _Found, options: ReadOptions) -> list[ScanSource]:
    return [
        ScanSource(
            name=_name_from(path.with_name(volume_stem(path)), root),
            files=files_of_volume(path),
            kind="volume",
            options=options,
        )
        for path, root in found.volumes.items()
    ]


def _picture_sources(found: _Found, options: ReadOptions) -> list[ScanSource]:
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
        ScanSource(name, tuple(files), "pictures", options, findings)
        for name, files, findings in sources
    ]


def _name_from(path: Path, root: Path) -> str:
    """The folders between the input and the file, and the file's name, e.g. ``NCP-12-1``."""
    parts = path.relative_to(root).parts if path.is_relative_to(root) else ()
    return "-".join(parts) or path.name
