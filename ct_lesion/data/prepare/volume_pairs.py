"""Pairs of an image and a mask volume, and the meaning of the masks' values."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ct_lesion.errors import DatasetError, reason
from ct_lesion.folders import check_regular
from ct_lesion.scans.names import safe_name, unique_names
from ct_lesion.scans.volume_files import is_volume_file, volume_stem

from ..datasets.lesion_masks import BACKGROUND, CONSOLIDATION, GGO, LUNG, MASK_TYPES

_MOST_DIGITS = 9
CSV_COLUMNS = ("patient", "image", "mask")
LABEL_NAMES = ("background", "lung", "ggo", "consolidation", "lesion")
# lesions of unspecified kind are stored as GGO; for these, LabelMap allows only mask type "merge"
_STORED = dict(zip(LABEL_NAMES, (BACKGROUND, LUNG, GGO, CONSOLIDATION, GGO), strict=True))


@dataclass(frozen=True)
class VolumePair:
    """A scan and its mask.

    Attributes:
        patient: valid folder name.
        scan: unique, valid folder name.
        image: volume file, or folder with one DICOM series.
        mask: volume file of the same geometry.
    """

    patient: str
    scan: str
    image: Path
    mask: Path


def pair_folders(images: str | Path, masks: str | Path) -> tuple[list[VolumePair], list[str]]:
    """Pair the volume files of two folders by their names without extension.

    Each pair counts as a separate patient; if patients have several scans, use
    :func:`read_pair_list`.

    Returns:
        The pairs, and a line for each file that has no partner or more than one.

    Raises:
        DatasetError: a folder is missing or contains no volume.
    """
    problems: list[str] = []
    image_files, mask_files = (_by_stem(Path(folder), problems) for folder in (images, masks))
    problems += [
        f"{image_files[stem]} has no mask in {masks}"
        for stem in sorted(image_files.keys() - mask_files.keys())
    ]
    problems += [
        f"{mask_files[stem]} has no image in {images}"
        for stem in sorted(mask_files.keys() - image_files.keys())
    ]
    stems = sorted(image_files.keys() & mask_files.keys())
    names = unique_names(safe_name(stem) for stem in stems)
    pairs = [
        VolumePair(name, name, image_files[stem], mask_files[stem])
        for name, stem in zip(names, stems, strict=True)
    ]
    return pairs, problems


def _by_stem(folder: Path, problems: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {what}. Give a folder of volumes (archives unpacked).")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_volume_file(path) or path.name.startswith("."):
            continue
        stem = volume_stem(path)
        if stem in files:
            problems.append(f"{path} has the same name as {files[stem].name}")
        files.setdefault(stem, path)
    if not files:
        raise DatasetError(
            f"{folder} contains no NIfTI, NRRD or MetaImage file. Scans in DICOM folders can be "
            "listed in a CSV file (--pairs)."
        )
    return files


def read_pair_list(path: str | Path) -> tuple[list[VolumePair], list[str]]:
    """Read a CSV file with the columns ``patient``, ``image`` and ``mask``.

    Paths are relative to the CSV file. An image may also be a folder with one DICOM series.

    Returns:
        The pairs, and a line for each faulty pair.

    Raises:
        DatasetError: the file cannot be read, lacks a column or contains no pair.
    """
    path = Path(path)
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [c for c in CSV_COLUMNS if c not in (reader.fieldnames or [])]
            if missing:
                raise DatasetError(
                    f"{path} has no column {', '.join(missing)}. Name the columns "
                    f"{', '.join(CSV_COLUMNS)} in its first line."
                )
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{path} cannot be read as a list of volumes ({reason(error)}). Check the path, and "
            "save the file as CSV in UTF-8."
        ) from None
    if not rows:
        raise DatasetError(f"{path} contains no pairs. Add a line for each scan.")
    problems: list[str] = []
    pairs: list[VolumePair] = []
    scans = unique_names(safe_name(volume_stem(Path(row["image"] or ""))) for _, row in rows)
    for (line, row), scan in zip(rows, scans, strict=True):
        empty = [column for column in CSV_COLUMNS if not (row[column] or "").strip()]
        if empty:
            problems.append(f"{path}:{line}: {', '.join(empty)} is empty")
            continue
        image, mask = (path.parent / row[column].strip() for column in ("image", "mask"))
        problems += [f"{path}:{line}: {f} does not exist" for f in (image, mask) if not f.exists()]
        if image.exists() and mask.exists():
            pairs.append(VolumePair(safe_name(row["patient"].strip()), scan, image, mask))
    return pairs, problems


class LabelMap:
    """Meaning of the values of a mask; 0 is background unless it is mapped."""

    def __init__(self, items: Sequence[str]) -> None:
        """
        Args:
            items: ``VALUE=NAME`` with a name of ``LABEL_NAMES``, e.g. ``1=lung 2=ggo``.

        Raises:
            DatasetError: an item is malformed, a value occurs twice, or no label is a lesion.
        """
        self._stored, names = {0: 0}, {}
        for item in items:
            value, _, name = item.partition("=")
            if not value.strip().isdecimal() or len(value) > _MOST_DIGITS or name not in _STORED:
                raise DatasetError(
                    f"--labels {item}: give VALUE=NAME with a whole number and one of "
                    f"{', '.join(LABEL_NAMES)}."
                )
            if int(value) in names:
                raise DatasetError(f"--labels: value {int(value)} is given twice. Remove one.")
            names[int(value)] = name
            self._stored[int(value)] = _STORED[name]
        self.names = set(names.values())
        if not self.names & {"ggo", "consolidation", "lesion"}:
            raise DatasetError("--labels: name a lesion (ggo, consolidation or lesion).")

    @property
    def has_lung(self) -> bool:
        """Whether a label is the lung field."""
        return "lung" in self.names

    def mask_types(self, wanted: Sequence[str] | None = None) -> list[str]:
        """The mask types that the labels allow, or ``wanted`` if given.

        Raises:
            DatasetError: the labels do not allow a wanted mask type.
        """
        needs = {"merge": set(), "both": {"ggo", "consolidation"}, "ggo": {"ggo"}}
        # lesions of unspecified kind may be GGO or consolidation
        allowed = [
            key
            for key in MASK_TYPES
            if needs[key] <= self.names and not (needs[key] and "lesion" in self.names)
        ]
        for key in wanted or ():
            if key not in allowed:
                raise DatasetError(
                    f"--mask-types {key} needs each lesion labelled as ggo or consolidation, but "
                    f"--labels names {', '.join(sorted(self.names))}."
                )
        return list(wanted or allowed)

    def unknown(self, values: np.ndarray) -> list[float]:
        """Values in ``values`` that are not mapped."""
        return [float(v) for v in np.unique(values) if v not in self._stored]

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map a mask's values to those of :mod:`ct_lesion.data.datasets.lesion_masks`, uint8."""
        labels = np.zeros(values.shape, np.uint8)
        for value, stored in self._stored.items():
            if stored:
                labels[values == value] = stored
        return labels
