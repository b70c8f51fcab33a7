"""Preparing a COVIDx-CT tree and loading it in training, against decoding its images.

The tree is synthetic: 60,000 names, each a hard link to one of a few 512 x 512 slices of synthetic
CT, so that the disk holds one copy of these and the folders are as large as in life.
"""

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
from detectron2.data import build_detection_train_loader
from PIL import Image

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.datasets.covidx_lists import PREFIXES, Problems, read_list
from ct_lesion.data.datasets.splits import SPLITS
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.data.prepare.covidx_ct import CovidxSource, index_images, prepare_covidx_ct
from ct_lesion.engine.fingerprint import hash_dataset
from ct_lesion.pictures import read_image_header

from .memory import resident_memory
from .models import config_of
from .row import Settings, SkipRow, Value, at_most, register_row
from .slices import chest_slices

COUNT = 60_000
FILES = 32  # different images
PER_SCAN = 60  # slices; a patient has one scan
DECODED = 200  # images that are decoded, and mapped
LOADED = 2400  # slices of the pass of the loader whose memory is watched
MIB = 1024**2


def make_tree(folder: Path, count: int, files: int, size: int) -> CovidxSource:
    """Slices and lists of COVIDx-CT's form.

    Args:
        folder: is filled.
        count: of slices in all, a multiple of 60 (slices a scan) is best.
        files: different images.
        size: pixels a side.

    Raises:
        SkipRow: the file system has no hard links.
    """
    originals = _write_originals(folder / "originals", files, size)
    root = folder / "images"
    lines: dict[str, list[str]] = {name: [] for name in SPLITS}
    for index in range(count):
        scan, number = divmod(index, PER_SCAN)
        label = scan % len(PREFIXES)
        patient = root / PREFIXES[label] / str(scan)
        path = patient / str(1000 + scan) / f"{number:04d}.png"
        if number == 0:
            path.parent.mkdir(parents=True)
        try:
            os.link(originals[index % files], path)
        except OSError as error:
            raise SkipRow(f"no hard links in {folder}: {error}") from None
        split = SPLITS[min(scan // len(PREFIXES) % 5, 2)]
        name = f"{PREFIXES[label]}_{scan}_{1000 + scan}_{number:04d}.png"
        lines[split].append(f"{name} {label} 0 0 {size} {size}\n")
    for name, own in lines.items():
        (folder / f"{name}.txt").write_text("".join(own), encoding="utf-8")
    return CovidxSource(
        image_root=root,
        lists={name: folder / f"{name}.txt" for name in SPLITS},
        per_class=min(1000, count // 20),
    )


def _write_originals(folder: Path, files: int, size: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{index}.png" for index in range(files)]
    for path, item in zip(paths, chest_slices(files, size), strict=True):
        cv2.imwrite(str(path), item["image"][0].numpy())
    return paths


def time_steps(source: CovidxSource, output: Path, decoded: int, size: int) -> dict[str, float]:
    """Seconds a slice of each step from lists and images to what a model reads."""
    cfg = config_of("classification/resnet18_t1.yaml", "INPUT.MIN_SIZE_TRAIN", [size])
    problems = Problems()
    seconds: dict[str, float] = {}

    def step(name: str, work: Callable[[], Any], count: int | None = None) -> Any:
        began = time.perf_counter()
        result = work()
        seconds[name] = (time.perf_counter() - began) / (count or len(result))
        return result

    slices = step(
        "reading the lists",
        lambda: [s for path in source.lists.values() for s in read_list(path, problems)],
    )
    wanted = {s.image_id for s in slices}
    found = step("finding the images", lambda: index_images(source.image_root, wanted, problems)[0])
    paths = [source.image_root / path for path in found.values()]
    step("reading a header", lambda: [read_image_header(path) for path in paths])
    step("all of preparing", lambda: prepare_covidx_ct(source, output), len(slices))
    json_file = output / "annotations" / "train_full.json"
    records = step("loading the dataset", lambda: load_covidx_ct(json_file))
    step("hashing the dataset", lambda: hash_dataset(records), len(records))
    mapper = ClassificationMapper(cfg, is_train=True)
    chosen = records[:: max(len(records) // decoded, 1)][:decoded]
    # in turn, so that both meet the same machine
    decoding, mapping = [], []
    for record in chosen:
        decoding.append(seconds_of(lambda path=record["file_name"]: decode_image(path)))
        mapping.append(seconds_of(lambda one=record: mapper(one)))
    seconds["decoding an image"] = statistics.median(decoding)
    seconds["mapping, beyond decoding"] = max(
        statistics.median(b - a for a, b in zip(decoding, mapping, strict=True)), 0.0
    )
    return seconds


def decode_image(path: str | Path) -> None:
    """Decode an image file and forget it."""
    with Image.open(path) as image:
        image.load()


def seconds_of(work: Callable[[], Any]) -> float:
    """How long a piece of work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@register_row(
    "prepare-covidx",
    work=f"preparing and loading {COUNT:,} slices of a COVIDx-CT tree",
    unit="slice",
    first="the slowest step a slice, over decoding its image",
    second="",
    target=at_most(1.0),
)
def prepare(settings: Settings) -> Value:
    folder = Path(tempfile.mkdtemp(prefix="ct_lesion_benchmark_"))
    try:
        source = make_tree(folder, COUNT, FILES, settings.size)
        seconds = time_steps(source, folder / "output", DECODED, settings.size)
    finally:
        shutil.rmtree(folder)
    decoding = seconds.pop("decoding an image")
    shares = {f"{name}, share of decoding": s / decoding for name, s in seconds.items()}
    facts = {"slices": COUNT, "different images": FILES, "ms to decode an image": decoding * 1e3}
    return Value(max(shares.values()), "x", {**facts, **shares})


@register_row(
    "load-covidx-memory",
    work=f"memory of the training loader, {LOADED:,} of {COUNT:,} slices",
    unit="pass",
    first="growth after its first quarter, over what it was then",
    second="",
    target=at_most(0.02),
)
def loader_memory(settings: Settings) -> Value:
    folder = Path(tempfile.mkdtemp(prefix="ct_lesion_benchmark_"))
    try:
        originals = _write_originals(folder / "originals", FILES, settings.size)
        trace = watch_loader(originals, COUNT, LOADED, settings.size)
    finally:
        shutil.rmtree(folder)
    quarter = trace[len(trace) // 4]
    facts = {
        "MiB after a quarter": quarter / MIB,
        "MiB at the end": trace[-1] / MIB,
        "most MiB": max(trace) / MIB,
    }
    return Value(max(trace[len(trace) // 4 :]) / quarter - 1, "", facts)


def watch_loader(files: Sequence[Path], count: int, loaded: int, size: int) -> list[int]:
    """Resident memory of this process, in bytes, while a training loader passes slices.

    Args:
        files: images, which the records share.
        count: of records.
        loaded: slices that are loaded.
        size: pixels a side.

    Returns:
        One number after each batch.
    """
    cfg = config_of("classification/resnet18_t1.yaml", "DATALOADER.NUM_WORKERS", 0)
    records = [
        {"file_name": str(files[i % len(files)]), "image_id": f"NCP_{i}", "label": i % 3}
        | {"height": size, "width": size, "patient": str(i // PER_SCAN), "scan": "1"}
        for i in range(count)
    ]
    loader = build_detection_train_loader(
        cfg, mapper=ClassificationMapper(cfg, is_train=True), dataset=records
    )
    batches = iter(loader)
    trace = []
    for _ in range(max(loaded // cfg.SOLVER.IMS_PER_BATCH, 4)):
        next(batches)
        trace.append(resident_memory())
    return trace
