"""Finds and reads the lesion masks of a program or of the truth.

Shapes: S slices, H x W pixels, oriented as in :mod:`ct_lesion.scans.geometry`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError, UserError
from ct_lesion.folders import walk_folder
from ct_lesion.pictures import colour_spread, read_8_bit
from ct_lesion.scans.geometry import Geometry, check_same_grid
from ct_lesion.scans.names import natural_key, safe_name
from ct_lesion.scans.volume_files import VolumeFile, is_volume_file, volume_stem

ONE_PATIENT = "patient"
"""Name of the patient of a single volume, or of PNG files without a folder per patient."""
MOST_LABELS = 16
"""Masks with more values are rejected as pictures or probabilities, unless --values is given."""
_MOST_NAMED = 5
_MM3_PER_ML = 1000.0


@dataclass(frozen=True)
class MaskSet:
    """The mask files of a program or of the truth.

    Attributes:
        name: name of the program, or ``truth``.
        path: path given by the user.
        files: keyed by patient: one volume, or the PNG files of the slices in natural order.
        values: mask values that are lesions; None for all but 0.
    """

    name: str
    path: Path
    files: Mapping[str, tuple[Path, ...]]
    values: frozenset[int] | None = None


@dataclass(frozen=True)
class LesionMask:
    """The lesions of a patient.

    Attributes:
        path: the volume, or the folder of the PNG files.
        voxels: (S, H, W) bool, true in lesions.
        geometry: the voxel grid; without position for PNG files.
        slice_names: stems of the PNG files; None for a volume.
        voxel_ml: volume of a voxel in ml; None if unknown.
        values: all values that occur, except 0.
        doubts: warnings about the file, one line each.
    """

    path: Path
    voxels: np.ndarray
    geometry: Geometry
    slice_names: tuple[str, ...] | None
    voxel_ml: float | None
    values: frozenset[int]
    doubts: tuple[str, ...] = ()


def find_masks(name: str, path: Path, values: frozenset[int] | None = None) -> MaskSet:
    """Find the mask of each patient.

    A folder holds either volumes, named like the patients or each in a folder named like its
    patient (as ``ct-lesion predict`` writes them), or PNG files in a folder for each patient. If
    there are volumes, PNG files are ignored: they are pictures of results. One volume, or a folder
    of PNG files alone, is the mask of a single patient.

    Raises:
        UserError: the path does not exist, or holds no mask, or several masks of one patient.
    """
    if path.is_file() and is_volume_file(path):
        return MaskSet(name, path, {ONE_PATIENT: (path,)}, values)
    if not path.is_dir():
        problem = "is not a volume" if path.exists() else "does not exist"
        raise UserError(
            f"{name}={path} {problem}. Give a folder of masks (NIfTI, NRRD, MetaImage or PNG), or "
            "one volume."
        )
    files = [
        place / file
        for place, names in walk_folder(path)
        for file in names
        if not file.startswith(".")
    ]
    volumes = [file for file in files if is_volume_file(file)]
    pictures = [file for file in files if file.suffix.lower() == ".png"]
    if not volumes and not pictures:
        raise UserError(
            f"{name}={path} holds no NIfTI, NRRD, MetaImage or PNG file. Give a folder of masks."
        )
    by_patient: dict[str, list[Path]] = defaultdict(list)
    for file in volumes or pictures:
        by_patient[_patient_of(file, path)].append(file)
    if not volumes and ONE_PATIENT in by_patient and len(by_patient) > 1:
        raise UserError(
            f"{name}={path} holds PNG files beside folders of PNG files. Move the PNG files of "
            "each patient into one folder."
        )
    for patient, masks in by_patient.items():
        if volumes and len(masks) > 1:
            raise UserError(
                f"{name}={path} holds {len(masks)} masks of patient {patient} "
                f"({_some([file.relative_to(path) for file in masks])}). Keep one volume per "
                "patient."
            )
    ordered = sorted(by_patient.items(), key=lambda item: natural_key(item[0]))
    return MaskSet(name, path, {p: _in_order(masks) for p, masks in ordered}, values)


def _patient_of(file: Path, root: Path) -> str:
    parts = file.parent.relative_to(root).parts
    if is_volume_file(file) and not parts:
        return safe_name(volume_stem(file))
    return safe_name("-".join(parts)) if parts else ONE_PATIENT


def _in_order(files: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(sorted(files, key=lambda file: natural_key(file.name)))


def common_patients(sets: Sequence[MaskSet], only_common: bool) -> tuple[list[MaskSet], list[str]]:
    """Restrict all sets to the patients that all of them have.

    If each set holds a single patient, and at most one name is known, it is the same patient.

    Args:
        sets: the truth and the programs.
        only_common: leave out the other patients; otherwise they are an error.

    Returns:
        The sets, and a line for each set that lacks patients.

    Raises:
        UserError: a set lacks a patient and ``only_common`` is false, or no patient is in all sets.
    """
    if all(len(s.files) == 1 for s in sets) and any(ONE_PATIENT in s.files for s in sets):
        named = [patient for s in sets for patient in s.files if patient != ONE_PATIENT]
        if len(set(named)) < 2:
            patient = named[0] if named else ONE_PATIENT
            return [replace(s, files={patient: next(iter(s.files.values()))}) for s in sets], []
    patients = sorted({patient for s in sets for patient in s.files}, key=natural_key)
    common = [patient for patient in patients if all(patient in s.files for s in sets)]
    lines = []
    for s in sets:
        missing = [patient for patient in patients if patient not in s.files]
        if missing:
            number = f"{len(missing)} patient{'s' * (len(missing) != 1)}"
            lines.append(f"{s.name} has no mask of {number}: {_some(missing, 20)}")
    if lines and not only_common:
        raise UserError(
            f"{'; '.join(lines)}. Add the masks (an empty one if nothing was found), or give "
            "--common to compare only the patients that all sets have."
        )
    if not common:
        raise UserError(
            f"No patient is in all sets of masks: {'; '.join(lines)}. Give files or "
            "folders of a patient the same name in all sets."
        )
    return [replace(s, files={p: s.files[p] for p in common}) for s in sets], lines


def read_mask(masks: MaskSet, patient: str) -> LesionMask:
    """Read the lesions of a patient.

    Raises:
        DatasetError: the mask is unreadable, or its values are not labels (0, 1, 2, ...).
    """
    files = masks.files[patient]
    if is_volume_file(files[0]):
        return _read_volume(files[0], masks)
    slices = [_read_picture(file) for file in files]
    sizes = {pixels.shape for pixels in slices}
    if len(sizes) > 1:
        raise DatasetError(
            f"{files[0].parent}: the slices differ in size: {_some(sorted(sizes))}. Give the masks "
            "of one scan per folder."
        )
    folder, labels = files[0].parent, np.stack(slices)
    voxels, values = _lesions(folder, labels, masks)
    names = tuple(file.stem for file in files)
    grid = Geometry.without_position(labels.shape)
    return LesionMask(folder, voxels, grid, names, None, values)


def _read_volume(path: Path, masks: MaskSet) -> LesionMask:
    volume = VolumeFile(path)
    labels = volume.geometry.to_internal(np.concatenate(list(volume.slabs())))
    voxels, values = _lesions(path, labels, masks)
    ml = float(np.prod(volume.geometry.spacing)) / _MM3_PER_ML if volume.place.has_sizes else None
    doubts = tuple(f"{path}: {finding.message}" for finding in volume.place.findings)
    return LesionMask(path, voxels, volume.geometry, None, ml, values, doubts)


def _read_picture(path: Path) -> np.ndarray:
    pixels = np.asarray(read_8_bit(path, advice="a mask has 8 bits"))
    if pixels.ndim == 3:  # a grey mask stored as colours
        if pixels.shape[2] != 3 or colour_spread(pixels):
            raise DatasetError(f"{path} is a colour picture. Give masks with one value per pixel.")
        pixels = pixels[..., 0]
    return pixels.astype(np.uint8)


def _lesions(path: Path, labels: np.ndarray, masks: MaskSet) -> tuple[np.ndarray, frozenset[int]]:
    values = np.unique(labels)
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values[0] < 0:
        raise DatasetError(
            f"{path} holds values from {values[0]:g} to {values[-1]:g}, but a mask holds 0, 1, 2, "
            "... only. Threshold probabilities first."
        )
    if masks.values is not None:
        voxels = np.isin(labels, list(masks.values))
    elif len(values) > MOST_LABELS:
        raise DatasetError(
            f"{path} holds {len(values)} different values, like a picture or probabilities. "
            f"Threshold it first, or give the values of lesions: --values {masks.name}=1,2."
        )
    else:
        voxels = labels > 0
    return voxels, frozenset(int(value) for value in values if value)


def check_fit(mask: LesionMask, truth: LesionMask) -> None:
    """Refuse a mask whose slices or voxel grid differ from the truth's.

    PNG files are compared by name, volumes by position. Between PNG files and a volume, only the
    number and the size of the slices are compared.

    Raises:
        DatasetError: they differ; the message names the difference.
    """
    if mask.slice_names and truth.slice_names and mask.slice_names != truth.slice_names:
        names, true = set(mask.slice_names), set(truth.slice_names)
        missing, extra = sorted(true - names), sorted(names - true)
        difference = f"lacks {_some(missing)}" if missing else f"also has {_some(extra)}"
        raise DatasetError(
            f"{mask.path} has other slices than the truth {truth.path}: {difference}. Give a mask "
            "of each slice, an empty one if nothing was found."
        )
    check_same_grid(mask.path, mask.geometry, truth.geometry, truth.path, "truth")


def _some(items: Sequence[object], most: int = _MOST_NAMED) -> str:
    items = list(items)
    return ", ".join(map(str, items[:most])) + (", ..." if len(items) > most else "")
