"""Finds slices of CNCB's classes in a folder by their names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ..datasets.covidx_lists import PREFIXES, Problems

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
TWO_FILES = "two files of one slice"  # a kind of problem


def index_images(
    root: Path, wanted: Collection[str] | None, problems: Problems
) -> tuple[dict[str, str], list[str]]:
    """Find slices below a folder, in one walk that opens no file.

    Args:
        root: holds ``NCP_96_1328_0032.png`` or ``NCP/96/1328/0032.png``, at any depth.
        wanted: image ids to look for; ``None`` for all.
        problems: collects slices that have two files.

    Returns:
        Path relative to ``root`` of each image id, and the image files with other names.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for folders, name in _walk(root):
        image_id = _image_id(folders, name.rpartition(".")[0])
        path = "/".join((*folders, name))
        if image_id is None:
            unknown.append(path)
        elif (wanted is None or image_id in wanted) and found.setdefault(image_id, path) != path:
            problems.add(TWO_FILES, f"{image_id}: {found[image_id]}, {path}")
    return found, unknown


def _walk(root: Path) -> Iterator[tuple[tuple[str, ...], str]]:
    """Folders below ``root`` and name of each visible image file; links are followed once."""
    pending: list[tuple[str, ...]] = [()]
    # a link to a folder above the root would include everything beside the root
    visited = {(s.st_dev, s.st_ino) for s in (p.stat() for p in root.resolve().parents)}
    while pending:
        folders = pending.pop()
        folder = root.joinpath(*folders)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back up
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.startswith("."):
                    continue
                # the suffix comes first, because is_dir() accesses the disk for each link
                if entry.name.lower().endswith(IMAGE_SUFFIXES):
                    yield folders, entry.name
                elif entry.is_dir():
                    pending.append((*folders, entry.name))


def _image_id(folders: Sequence[str], stem: str) -> str | None:
    fields = stem.split("_")
    if len(fields) == 1:
        fields = [*folders[-3:], stem]
    # ids are split at "_" later, so a folder name must not contain one
    is_complete = len(fields) == 4 and all(f and "_" not in f for f in fields)
    return "_".join(fields) if is_complete and fields[0] in PREFIXES else None
