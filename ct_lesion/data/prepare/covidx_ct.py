"""From COVIDx-CT lists or CNCB's class folders to the json files of the classification datasets.

A json file holds ``info``, ``classes``, ``image_root`` and ``images``. Images are never copied:
``image_root`` is relative to the json file's folder when it lies in the dataset's folder, so that
the two move together, and absolute otherwise.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from ct_lesion.errors import DatasetError
from ct_lesion.files import write_together
from ct_lesion.pictures import open_picture, read_image_header

from ..datasets.covidx_lists import (
    IMAGE_CLASSES,
    PREFIXES,
    CTSlice,
    Problems,
    Splits,
    check_splits_apart,
    describe,
    draw_sample,
    parse_name,
    read_list,
    read_sample_list,
    select_sample,
    split_patients,
)
from ..datasets.splits import SPLITS, check_fractions

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class CovidxSource:
    """What a dataset is made from.

    Attributes:
        image_root: folder with the slices, as ``NCP_96_1328_0032.png`` or as
            ``NCP/96/1328/0032.png``, at any depth; .png, .jpg or .jpeg.
        lists: COVIDx-CT lists of train, val and test; without them the folder is split by patient.
        fractions: of the patients of each class in train, val and test, without lists.
        sample_list: a published training sample; without it one is drawn.
        per_class: slices of each class in a training sample that is drawn.
        seed: of split and sample.
        ids_per_class: patient 96 of one class is not patient 96 of another.
        allow_missing: leave out listed slices that are not in the folder.
        allow_overlap: accept lists that have a patient in two splits.
        decode: decode every image, to find the damaged ones.
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

    def __post_init__(self) -> None:
        absent = [name for name in SPLITS if name not in self.lists]
        if self.lists and absent:
            raise DatasetError(f"lists of train, val and test go together; {absent} are not given.")
        check_fractions(self.fractions)
        if self.per_class < 1:
            raise DatasetError(f"--per-class is {self.per_class}; a class needs at least 1 slice.")


@dataclass(frozen=True)
class Prepared:
    """What was written: its files, its counts (see :func:`count_rows`), and what to tell."""

    files: list[Path]
    counts: list[list]
    notes: list[str]


def index_images(
    root: Path, wanted: Collection[str] | None, problems: Problems
) -> tuple[dict[str, str], list[str]]:
    """Find slices below a folder, in one walk that opens no file.

    Args:
        root: holds ``NCP_96_1328_0032.png`` or ``NCP/96/1328/0032.png``, at any depth.
        wanted: ids to look for; ``None`` for all.
        problems: notes two files of one slice.

    Returns:
        Id to path relative to ``root``, and the image files whose names are not understood.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    folders: list[tuple[str, ...]] = [()]
    visited = set()
    while folders:
        parts = folders.pop()
        folder = root.joinpath(*parts)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:  # a link that leads back up
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                name = entry.name
                stem, dot, suffix = name.rpartition(".")
                if name.startswith("."):
                    continue
                if f"{dot}{suffix.lower()}" not in IMAGE_SUFFIXES:
                    if entry.is_dir():
                        folders.append((*parts, name))
                    continue
                key = _slice_id(parts, stem)
                path = "/".join((*parts, name))
                if key is None:
                    unknown.append(path)
                    continue
                asked_for = wanted is None or key in wanted
                if asked_for and found.setdefault(key, path) != path:
                    problems.add("two files of one slice", f"{key}: {found[key]}, {path}")
    return found, unknown


def _slice_id(folders: Sequence[str], stem: str) -> str | None:
    fields = stem.split("_")
    if len(fields) == 1:
        fields = [*folders[-3:], stem]
    # an id is split at "_" again, so no folder's name may hold one
    whole = len(fields) == 4 and all(f and "_" not in f for f in fields)
    return "_".join(fields) if whole and fields[0] in PREFIXES else None


def prepare_covidx_ct(source: CovidxSource, output: str | Path) -> Prepared:
    """Write ``annotations/{train,train_full,val,test}.json`` below ``output``.

    All is checked before anything is written; an earlier dataset there is replaced.

    Raises:
        DatasetError: lists, folder or images are faulty, and then tells everything that is wrong;
            or the output cannot be written.
    """
    problems, notes = Problems(), []
    splits, found = _find_slices(source, problems, notes)
    overlap = check_splits_apart(splits, problems, source.ids_per_class)
    if overlap and source.allow_overlap:
        notes.append(describe("patients in two splits, as --allow-patient-overlap says", overlap))
    elif overlap:
        problems.add(
            "patients in two splits (slices of a patient are too alike to test on after training "
            "on others; --allow-patient-overlap accepts it; --patient-ids-per-class if the same "
            "number in two classes is two people)",
            *overlap,
        )
    datasets = {"train": _training_sample(source, splits, problems, notes)} if splits else {}
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
        write_together(texts)
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be written to ({error}).") from None
    return Prepared(list(texts), count_rows(datasets, source.ids_per_class), notes)


def _find_slices(
    source: CovidxSource, problems: Problems, notes: list[str]
) -> tuple[Splits, dict[str, str]]:
    """The slices of each split, and where their images are below the image root."""
    root = source.image_root
    splits = {name: read_list(path, problems) for name, path in source.lists.items()}
    if not root.is_dir():
        problems.add("image folders that are not there", str(root))
        return splits, {}
    wanted = {s.image_id for slices in splits.values() for s in slices} if splits else None
    found, unknown = index_images(root, wanted, problems)
    forms = "<Normal|CP|NCP>_<patient>_<scan>_<slice>.png or NCP/<patient>/<scan>/<slice>.png"
    if not found:
        problems.add("image folders without slices", f"{root}: has no {forms} that is asked for")
    if not splits:
        if unknown:
            notes.append(describe(f"images left out, because they are not {forms}", unknown))
        slices = [parse_name(f"{key}.") for key in found]
        by_patient = split_patients(
            slices, source.fractions, source.seed, problems, source.ids_per_class
        )
        return by_patient if slices else {}, found
    missing = [s.image_id for slices in splits.values() for s in slices if s.image_id not in found]
    if missing and source.allow_missing:
        notes.append(describe(f"listed slices left out, because {root} lacks them", missing))
        splits = {name: [s for s in own if s.image_id in found] for name, own in splits.items()}
    elif missing:
        problems.add(
            f"listed slices that are not below {root} (--allow-missing leaves them out)", *missing
        )
    return splits, found


def _training_sample(
    source: CovidxSource, splits: Splits, problems: Problems, notes: list[str]
) -> list[CTSlice]:
    if source.sample_list is None:
        # an unreadable list is told already; that nothing can be drawn from it is no news
        train = splits["train"]
        return draw_sample(train, source.per_class, source.seed, problems) if train else []
    listed = read_sample_list(source.sample_list, problems)
    if not listed or not splits["train"]:
        return []
    sample, unknown = select_sample(listed, splits, problems)
    if unknown:
        notes.append(describe("slices of the sample left out, because no split has them", unknown))
    return sample


def _make_records(
    source: CovidxSource,
    splits: Splits,
    found: Mapping[str, str],
    problems: Problems,
    notes: list[str],
) -> dict[str, dict]:
    """A record a slice, with its size read from the image's header."""
    slices = [s for own in splits.values() for s in own if s.image_id in found]
    records, outside = {}, []
    # disable=None: no bar where nobody watches, i.e. in a log file
    for ct_slice in tqdm(slices, desc="reading image headers", unit="slice", disable=None):
        key = ct_slice.image_id
        path = source.image_root / found[key]
        try:
            width, height, bits = read_image_header(path)
            if source.decode:
                with open_picture(path) as image:
                    image.load()
        except DatasetError as error:
            problems.add("images that cannot be read", str(error))
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
        notes.append(describe("body boxes that reach beyond their image (not used)", outside))
    return records


def _stored_root(image_root: Path, output: Path) -> str:
    # absolute, not resolved: a link in the dataset's folder stands for wherever it leads
    root, output = image_root.absolute(), output.absolute()
    inside = root.is_relative_to(output)
    return (Path("..") / root.relative_to(output)).as_posix() if inside else str(root)


def _describe_source(source: CovidxSource, name: str, slices: Iterable[CTSlice]) -> dict:
    """Where a dataset comes from, without the paths of the machine it was made on."""
    listed = {**source.lists, "sample": source.sample_list}
    ids = "\n".join(sorted(s.image_id for s in slices))
    return {
        "dataset": f"covidx_ct_{name}",
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
    """Rows of dataset, class, slices, patients, scans: a row a class, and one for all."""
    rows = []
    for name, slices in datasets.items():
        for label, class_name in [*enumerate(IMAGE_CLASSES), (None, "all")]:
            own = [s for s in slices if label in (None, s.label)]
            people = {s.person(ids_per_class) for s in own}
            scans = {(s.label, s.patient, s.scan) for s in own}
            rows.append([name, class_name, len(own), len(people), len(scans)])
    return rows
