"""Pipes, sockets and devices in place of files: reading one would never end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from cases import LOADED, Case
from run_cases import RUN, write_run
from toy_scans import toy_grey, toy_hu, write_pictures, write_series

SPECIAL = "pipe|device|not a file|no such file|does not exist|not found|No such file|no slices"


def special_files(place: Callable[[Path], Path]) -> Callable[[Path], list[Path]]:
    """Builds a folder with a pipe, one with a socket and one with a device.

    Args:
        place: prepares a folder and returns the path for the special file.
    """

    def build(folder: Path) -> list[Path]:
        made = []
        for kind in ("pipe", "socket", "device"):
            path = place(folder / kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if kind == "pipe":
                os.mkfifo(path)
            elif kind == "socket":
                os.mknod(path, stat.S_IFSOCK | 0o600)
            else:
                path.symlink_to("/dev/zero")
            made.append(path)
        return made

    return build


def _below(name: str, prepare: Callable[[Path], object], given: str = ".") -> Callable:
    """Puts a special file ``name`` into a prepared folder; the reader gets ``given``."""

    def place(folder: Path) -> Path:
        folder.mkdir()
        prepare(folder)
        return folder / name

    def build(folder: Path) -> list[Path]:
        special_files(place)(folder)
        return [folder / kind / given for kind in ("pipe", "socket", "device")]

    return build


FILES = {
    "weights": (".pth", ".pkl", ".safetensors"),
    "description": (".pth", ".safetensors"),
    "convert": (".pth",),
    "segmenter": (".pth", ".safetensors"),
    "config": (".yaml",),
    "scan": (".nii", ".nii.gz", ".nrrd", ".mhd", ".dcm", ".png", ".tif"),
    "classification_image": (".png", ".jpg"),
    "segmentation_image": (".png", ".tif"),
    "lesion_archive": (".zip",),
    "volume_list": (".csv",),
    "lesion_dataset": (".json",),
    "covidx_dataset": (".json",),
    "roi_batches": (".npz",),
    "split_list": (".txt",),
    "pair_list": (".csv",),
    "metadata": (".csv",),
    "audit": (".json", ".txt"),
}


def _pictures(folder: Path) -> None:
    write_pictures(folder, toy_grey())


def _archive(folder: Path) -> None:
    for name in ("image", "mask"):
        for patient in "12":
            write_pictures(folder / name / patient, toy_grey()[:3])


def _class_folders(folder: Path) -> None:
    for label in ("NCP", "CP", "Normal"):
        write_pictures(folder / label / "1" / "1", toy_grey()[:3])


CASES = [
    *(
        Case(
            f"special file{ending}",
            entry,
            special_files(lambda folder, ending=ending: folder / f"a{ending}"),
            SPECIAL,
        )
        for entry, endings in FILES.items()
        for ending in endings
    ),
    *(
        Case(
            f"special file {name.rpartition('/')[2]}",
            "run_folder",
            _below(name, lambda folder: write_run(folder, RUN), "run"),
            f"{SPECIAL}|holds no",
        )
        for name in (f"run/{name}" for name in RUN)
    ),
    *(
        Case(f"special {name}", entry, _below(name, prepare), match)
        for name, entry, prepare, match in (
            ("5.png", "scan", _pictures, LOADED),
            ("5.dcm", "scan", lambda f: write_series(f, toy_hu()), LOADED),
            ("image/1/1.png", "lesion_archive", _archive, SPECIAL),
            ("mask/1/1.png", "lesion_archive", _archive, SPECIAL),
            ("NCP/1/1/1.png", "covidx_images", _class_folders, SPECIAL),
            ("image/1/1.png", "audit", _archive, SPECIAL),
            ("mask/1/1.png", "audit", _archive, SPECIAL),
            ("NCP/1/1/1.png", "audit", _class_folders, SPECIAL),
            ("5.png", "audit", _pictures, LOADED),
            ("a/summary.json", "predicted", lambda _: None, SPECIAL),
            ("a/manifest.json", "predicted", lambda _: None, LOADED),
        )
    ),
]
