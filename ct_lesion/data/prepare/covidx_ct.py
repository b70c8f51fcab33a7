"""Prepares the classification datasets from COVIDx-CT lists or CNCB's class folders.

A json file holds ``info``, ``classes``, ``image_root`` and ``images``. Images are never copied. If
they are in the dataset's folder, ``image_root`` is relative to the json file's folder, so that the
dataset can be moved; otherwise it is absolute.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ct_lesion.errors import DatasetError, reason
from ct_lesion.files import locked_folder, write_together
from ct_lesion.pictures import open_picture, read_image_header
from ct_lesion.scans.windows import UNKNOWN, Window

from ..datasets.covidx_lists import (
    IMAGE_CLASSES,
    CTSlice,
    Problems,
    describe,
    parse_name,
    parse_sample_line,
    read_list,
)
from ..datasets.covidx_splits import (
    Splits,
    check_splits_apart,
    draw_sample,
    select_sample,
    split_patients,
)
from ..datasets.splits import SPLITS, check_fractions
from .covidx_images import index_images


@dataclass(frozen=True)
class CovidxSource:
    """Sources and options of a dataset.

    Attributes:
        image_root: folder with the slices, as ``NCP_96_1328_0032.png`` or as
            ``NCP/96/1328/0032.png``, at any depth; .png, .jpg or .jpeg.
        lists: COVIDx-CT lists of train, val and test; if empty, the folder is split by patient.
        fractions: shares of the patients of each class for the splits; unused with lists.
        sample_list: a published training sample; ``None`` to draw one.
        per_class: slices of each class in a drawn training sample.
        seed: seed of split and sample.
        ids_per_class: the same patient number in two classes means two people.
        allow_missing: leave out listed slices that are not in the folder.
        allow_overlap: accept lists with a patient in two splits.
        decode: decode every image to find damaged ones.
        window: how the slices were made from HU.
    """

    image_root: Path
    lists: Mapping[str, Path] = field(default_factory=dict)
    fractions: Sequence[float] = (0.6, 0.2, 0.2)
    sample_list: Path | None = None
    per_class: int = 1000
    seed: int = 0
    ids_per_class: bool = False
    allow_missing: bool = False
    allow_overlap: bool = False
    decode: bool = False
    window: Window = UNKNOWN

    def __post_init__(self) -> None:
        absent = [name for name in SPLITS if name not in self.lists]
        if self.lists and absent:
            options = ", ".join(f"--{name}-list" for name in absent)
            raise DatasetError(f"Lists of train, val and test are used together: add {options}.")
        check_fractions(self.fractions)
        if self.per_class < 1:
            raise DatasetError(f"--per-class is {self.per_class}: give a number of at least 1.")


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset.

    Attributes:
        files: the written files.
        counts: see :func:`count_rows`.
        notes: remarks for the user, e.g. slices that were left out.
    """

    files: list[Path]
    counts: list[list]
    notes: list[str]


def prepare_covidx_ct(source: CovidxSource, output: str | Path) -> Prepared:
    """Write ``annotations/{train,train_full,val,test}.json`` below ``output``.

    Everything is checked before anything is written; an earlier dataset is replaced.

    Raises:
        DatasetError: lists, folder or images are faulty (the message lists all faults), or the
            output cannot be written.
    """
    problems, notes = Problems(), []
    splits, found = _find_slices(source, problems, notes)
    overlap = check_splits_apart(splits, problems, source.ids_per_class)
    if overlap and source.allow_overlap:
        notes.append(describe("patients in two splits (--allow-patient-overlap)", overlap))
    elif overlap:
        problems.add(
            "patients in two splits (slices of a patient are too alike to train on some and test "
            "on others; accept them with --allow-patient-overlap, or give --patient-ids-per-class "
            "if the same number in two classes means two people)",
            *overlap,
        )
    datasets = {"train": _training_sample(source, splits, problems, notes)}
    datasets |= {"train_full" if name == "train" else name: s for name, s in splits.items()}
    records = _make_records(source, splits, found, problems, notes)
    problems.raise_if_any()

    folder = Path(output) / "annotations"
    common = {
        "classes": list(IMAGE_CLASSES),
        "image_root": _stored_root(source.image_root, Path(output)),
    }
    texts = {
        folder / f"{name}.json": json.dumps(
            {
                "info": _describe_source(source, name, slices),
                **common,
                "images": [records[s.image_id] for s in slices],
            }
        )
        for name, slices in datasets.items()
    }
    try:
        with locked_folder(Path(output)):
            if folder.is_symlink():  # never write through a link below the output folder
                folder.unlink()
            write_together(texts)
    except OSError as error:
        raise DatasetError(
            f"{folder} cannot be written to ({reason(error)}). Choose another --output."
        ) from None
    return Prepared(list(texts), count_rows(datasets, source.ids_per_class), notes)


def _find_slices(
    source: CovidxSource, problems: Problems, notes: list[str]
) -> tuple[Splits, dict[str, str]]:
    """The slices of each split, and the path of each image relative to the image root.

    Raises:
        DatasetError: the image root is not a folder, or contains no slices.
    """
    root = source.image_root
    splits = {name: read_list(path, problems) for name, path in source.lists.items()}
    if not root.is_dir():
        problems.raise_if_any()
        what = "is not a folder" if root.exists() else "does not exist"
        raise DatasetError(f"--image-root {root} {what}. Give the folder of the unpacked slices.")
    wanted = {s.image_id for slices in splits.values() for s in slices} if splits else None
    found, unknown = index_images(root, wanted, problems)
    forms = "<Normal|CP|NCP>_<patient>_<scan>_<slice>.png or NCP/<patient>/<scan>/<slice>.png"
    if not found:
        problems.raise_if_any()
        which = "none of the listed slices" if splits else "no slices"
        raise DatasetError(
            f"--image-root {root} contains {which}, named {forms}. Give the folder above them."
        )
    if not splits:
        if unknown:
            notes.append(describe(f"images left out because they are not named {forms}", unknown))
        slices = [parse_name(f"{key}.") for key in found]
        by_patient = split_patients(
            slices, source.fractions, source.seed, problems, source.ids_per_class
        )
        return by_patient, found
    missing = [s.image_id for slices in splits.values() for s in slices if s.image_id not in found]
    if missing and source.allow_missing:
        notes.append(describe(f"listed slices left out because {root} lacks them", missing))
        splits = {
            name: [s for s in slices if s.image_id in found] for name, slices in splits.items()
        }
    elif missing:
        problems.add(
            f"listed slices that are not below {root} (--allow-missing leaves them out)", *missing
        )
    return splits, found


def _training_sample(
    source: CovidxSource, splits: Splits, problems: Problems, notes: list[str]
) -> list[CTSlice]:
    if source.sample_list is None:
        # an empty list has already been reported
        train = splits["train"]
        return draw_sample(train, source.per_class, source.seed, problems) if train else []
    listed = read_list(source.sample_list, problems, parse_sample_line)
    if not listed or not splits["train"]:
        return []
    sample, unknown = select_sample(listed, splits, problems)
    if unknown:
        notes.append(describe("slices of the sample left out because no split has them", unknown))
    return sample


def _make_records(
    source: CovidxSource,
    splits: Splits,
    found: Mapping[str, str],
    problems: Problems,
    notes: list[str],
) -> dict[str, dict]:
    """The record of each slice by image id, with its size from the image's header."""
    slices = [s for chosen in splits.values() for s in chosen if s.image_id in found]
    records, outside = {}, []
    # disable=None: no progress bar in a log file
    for ct_slice in tqdm(slices, desc="reading image headers", unit="slice", disable=None):
        key = ct_slice.image_id
        path = source.image_root / found[key]
        try:
            width, height, bits, _ = read_image_header(path)
            if source.decode:
                with open_picture(path) as image:
                    image.load()
        except DatasetError as error:
            problems.add("unreadable images", str(error))
            continue
        if bits > 8:
            problems.add("16-bit images (make them 8-bit with a CT window first)", str(path))
        if ct_slice.body_box and (ct_slice.body_box[2] > width or ct_slice.body_box[3] > height):
            outside.append(f"{key}: box {ct_slice.body_box}, image {width} x {height}")
        records[key] = {
            "file_name": found[key],
            "image_id": key,
            "height": height,
            "width": width,
            "label": ct_slice.label,
            "patient": ct_slice.person(source.ids_per_class),
            "scan": ct_slice.scan,
            "slice": ct_slice.slice,
            "body_box": ct_slice.body_box,
        }
    if outside:
        notes.append(describe("body boxes that exceed their image (not used)", outside))
    return records


def _stored_root(image_root: Path, output: Path) -> str:
    # absolute(), not resolve(): a link in the dataset's folder counts as inside it
    root, output = image_root.absolute(), output.absolute()
    inside = root.is_relative_to(output)
    return (Path("..") / root.relative_to(output)).as_posix() if inside else str(root)


def _describe_source(source: CovidxSource, name: str, slices: Iterable[CTSlice]) -> dict:
    """The ``info`` of a dataset: its sources and options, without absolute paths."""
    listed = {**source.lists, "sample": source.sample_list}
    ids = "\n".join(sorted(s.image_id for s in slices))
    return {
        "dataset": f"covidx_ct_{name}",
        "window": source.window.as_dict(),
        "seed": source.seed,
        "per_class": None if source.sample_list else source.per_class,
        "fractions": None if source.lists else list(source.fractions),
        "lists": {
            key: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for key, path in listed.items()
            if path
        },
        "image_ids_sha256": hashlib.sha256(ids.encode()).hexdigest(),
    }


def count_rows(
    datasets: Mapping[str, Sequence[CTSlice]], ids_per_class: bool = False
) -> list[list]:
    """Rows of dataset, class, slices, patients and scans: one per class, and one for all."""
    rows = []
    for name, slices in datasets.items():
        for label, class_name in [*enumerate(IMAGE_CLASSES), (None, "all")]:
            counted = [s for s in slices if label in (None, s.label)]
            people = {s.person(ids_per_class) for s in counted}
            scans = {(s.label, s.patient, s.scan) for s in counted}
            rows.append([name, class_name, len(counted), len(people), len(scans)])
    return rows
