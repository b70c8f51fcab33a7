"""Sorting the files of the inputs by kind; folders and zips of DICOM files are searched."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ct_lesion.errors import DatasetError
from ct_lesion.folders import walk_folder
from ct_lesion.zip_files import ZIP_ENDING, zip_members

from .dicom.headers import is_dicom_file
from .names import natural_key, some_names
from .picture_stack import is_picture_file
from .volume_files import files_of_volume, is_volume_file


@dataclass
class FoundFiles:
    """Files of the inputs by kind, each with the folder that its scan's name is relative to."""

    dicom: dict[Path, Path] = field(default_factory=dict)
    volumes: dict[Path, Path] = field(default_factory=dict)
    voxels: set[Path] = field(default_factory=set)
    """The volumes, and the separate files with their voxels."""
    pictures: dict[Path, Path] = field(default_factory=dict)
    named: set[Path] = field(default_factory=set)
    """Files that the user named individually: if unusable, they are errors and never skipped."""
    unreadable: list[Path] = field(default_factory=list)
    """Empty or unreadable files and broken links; beside slices, they count as lost slices."""
    unreadable_folders: list[Path] = field(default_factory=list)
    """Folders that may hold slices of a scan in their parent folder."""
    notes: list[str] = field(default_factory=list)

    def add(self, path: Path, root: Path) -> bool:
        """Add a file; returns False if its kind is not supported."""
        if is_volume_file(path):
            if path not in self.volumes:
                self.voxels.update(files_of_volume(path))
            self.volumes.setdefault(path, root)
        elif is_picture_file(path):
            self.pictures.setdefault(path, root)
        elif is_dicom_file(path):
            self.dicom.setdefault(path, root)
        else:
            return False
        return True


def take_input(item: str, found: FoundFiles) -> None:
    """Add the files of an input: a file, folder, zip of DICOM files or glob pattern.

    Raises:
        DatasetError: the input does not exist, its kind is not supported, or a zip is unusable.
    """
    path = Path(item).expanduser()
    if path.is_dir():
        _take_folder(path, found)
    elif path.is_file() and path.suffix.lower() == ZIP_ENDING:
        _take_zip(path.absolute(), found)
    elif path.is_file():
        path = path.absolute()
        if not found.add(path, path.parent):
            raise DatasetError(
                f"{item} is not DICOM, NIfTI, NRRD, MetaImage, PNG, JPG, TIFF or zip. Convert it."
            )
        found.named.add(path)
    elif glob.has_magic(item):
        # Path.glob takes no absolute pattern
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        if not matches:
            raise DatasetError(f"{item}: no file matches this pattern. Check the pattern.")
        for folder in (match for match in matches if match.is_dir()):
            _take_folder(folder, found)
        files = [match.absolute() for match in matches if match.is_file()]
        for archive in (file for file in files if file.suffix.lower() == ZIP_ENDING):
            _take_zip(archive, found)
        files = [file for file in files if file.suffix.lower() != ZIP_ENDING]
        _take_files(item, files, None, found)
    else:
        raise DatasetError(f"{item} does not exist. Check the path.")


def _take_zip(archive: Path, found: FoundFiles) -> None:
    """Add the DICOM files in a zip."""
    members, notes = zip_members(archive)
    found.notes += notes
    skipped = []
    for path in members:
        if _is_hidden(path):
            continue
        # neither volumes nor pictures are read from a zip
        if not (is_volume_file(path) or is_picture_file(path)) and is_dicom_file(path):
            found.dicom.setdefault(path, archive.parent)
        else:
            skipped.append(path)
    if skipped:
        what = f"skipped {len(skipped)} files that are not DICOM: {some_names(skipped)}"
        found.notes.append(f"{archive}: {what}")


def _take_folder(folder: Path, found: FoundFiles) -> None:
    def unreadable(error: OSError) -> None:
        found.unreadable_folders.append(Path(error.filename).absolute())
        found.notes.append(f"{error.filename}: folder cannot be read ({error.strerror})")

    walk = walk_folder(folder, unreadable)
    paths = [(place / name).absolute() for place, names in walk for name in names]
    _take_files(str(folder), paths, folder.absolute(), found)


def _take_files(item: str, paths: Iterable[Path], root: Path | None, found: FoundFiles) -> None:
    """Add the supported files of an input, and notes about the others.

    Args:
        item: the input, for the notes.
        root: folder that scan names are relative to; None for each file's own folder.
    """
    skipped = []
    for path in sorted(paths, key=lambda path: natural_key(str(path))):
        if _is_hidden(path):
            continue
        # skip broken links, and pipes, which would block
        if not path.is_file() or not found.add(path, root or path.parent):
            skipped.append(path)
    skipped = [path for path in skipped if path not in found.voxels]
    unreadable = {path: None for path in skipped if _is_unreadable(path)}  # in order
    found.unreadable += unreadable
    others = [path for path in skipped if path not in unreadable]
    zips = {path: None for path in others if path.suffix.lower() == ZIP_ENDING}
    for paths, what in (
        ([*unreadable], "files that cannot be read (empty, broken links, pipes, no permission)"),
        ([path for path in others if path not in zips], "files of other kinds"),
        ([*zips], "zip files, which are read only if they are given as INPUT"),
    ):
        if paths:
            found.notes.append(f"{item}: skipped {len(paths)} {what}: {some_names(paths)}")


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or "__MACOSX" in path.parts


def _is_unreadable(path: Path) -> bool:
    return not path.is_file() or path.stat().st_size == 0 or not os.access(path, os.R_OK)
