"""Prepares a COVIDx-CT tree and loads it as in training: time relative to decoding, and memory.

The tree is synthetic: 60,000 hard links to a few slices of synthetic CT, so that it has as many
files as a real one without taking the disk space.
"""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.data import build_detection_train_loader
from PIL import Image

from ct_lesion.data.datasets.covidx_ct import load_covidx_ct
from ct_lesion.data.datasets.covidx_lists import PREFIXES, Problems, read_list
from ct_lesion.data.datasets.splits import SPLITS
from ct_lesion.data.loading.mapper import ClassificationMapper
from ct_lesion.data.prepare.covidx_ct import CovidxSource, prepare_covidx_ct
from ct_lesion.data.prepare.covidx_images import index_images
from ct_lesion.engine.fingerprint import hash_dataset
from ct_lesion.pictures import read_image_header, write_picture

from .inputs import chest_slices, config_of
from .measure import Measured, NotMeasurable, Settings

COUNT = 60_000
FILES = 32  # different images
PER_SCAN = 60  # slices; a patient has one scan
DECODED = 200  # images that are decoded and mapped
LOADED = 2400  # slices that are loaded while memory is recorded
MIB = 1024**2


def make_tree(folder: Path, count: int, files: int, size: int) -> CovidxSource:
    """Write slices and lists in COVIDx-CT's layout.

    Args:
        folder: receives the files.
        count: number of slices, preferably a multiple of 60 (slices per scan).
        files: number of different images.
        size: height and width in pixels.

    Raises:
        NotMeasurable: the file system has no hard links.
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
            raise NotMeasurable(f"no hard links in {folder}: {error}") from None
        split = SPLITS[min(scan // len(PREFIXES) % 5, 2)]
        name = f"{PREFIXES[label]}_{scan}_{1000 + scan}_{number:04d}.png"
        lines[split].append(f"{name} {label} 0 0 {size} {size}\n")
    for name, text in lines.items():
        (folder / f"{name}.txt").write_text("".join(text), encoding="utf-8")
    return CovidxSource(
        image_root=root,
        lists={name: folder / f"{name}.txt" for name in SPLITS},
        per_class=min(1000, count // 20),
    )


def _write_originals(folder: Path, files: int, size: int) -> list[Path]:
    folder.mkdir(parents=True)
    paths = [folder / f"{index}.png" for index in range(files)]
    for path, item in zip(paths, chest_slices(files, size), strict=True):
        write_picture(path, item["image"][0].numpy())
    return paths


def time_steps(source: CovidxSource, output: Path, decoded: int, size: int) -> dict[str, float]:
    """Time each step from lists and images to the inputs of a model; seconds per slice by name."""
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
    # alternately, so that other load on the machine affects both
    decoding, mapping = [], []
    for record in chosen:
        decoding.append(seconds_of(lambda path=record["file_name"]: decode_image(path)))
        mapping.append(seconds_of(lambda record=record: mapper(record)))
    seconds["decoding an image"] = statistics.median(decoding)
    seconds["mapping, beyond decoding"] = max(
        statistics.median(b - a for a, b in zip(decoding, mapping, strict=True)), 0.0
    )
    return seconds


def decode_image(path: str | Path) -> None:
    """Decode an image file."""
    with Image.open(path) as image:
        image.load()


def seconds_of(work: Callable[[], Any]) -> float:
    """Duration of a call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure_preparation(settings: Settings) -> Measured:
    """Time of the slowest step of preparing and loading, relative to decoding."""
    with tempfile.TemporaryDirectory(prefix="ct_lesion_benchmark_") as name:
        source = make_tree(Path(name), COUNT, FILES, settings.size)
        seconds = time_steps(source, Path(name) / "output", DECODED, settings.size)
    decoding = seconds.pop("decoding an image")
    shares = {f"{name}, share of decoding": s / decoding for name, s in seconds.items()}
    facts = {"slices": COUNT, "different images": FILES, "ms to decode an image": decoding * 1e3}
    return Measured(max(shares.values()), {**facts, **shares})


def measure_loader_memory(settings: Settings) -> Measured:
    """Growth of the resident memory after the first quarter of the slices, as a fraction."""
    with tempfile.TemporaryDirectory(prefix="ct_lesion_benchmark_") as name:
        originals = _write_originals(Path(name) / "originals", FILES, settings.size)
        trace = watch_loader(originals, COUNT, LOADED, settings.size)
    quarter = trace[len(trace) // 4]
    facts = {
        "MiB after a quarter": quarter / MIB,
        "MiB at the end": trace[-1] / MIB,
        "most MiB": max(trace) / MIB,
    }
    return Measured(max(trace[len(trace) // 4 :]) / quarter - 1, facts)


def watch_loader(files: Sequence[Path], count: int, loaded: int, size: int) -> list[int]:
    """Record the resident memory of this process while a training loader loads slices.

    Args:
        files: images, shared by the records.
        count: number of records.
        loaded: number of slices to load.
        size: height and width in pixels.

    Returns:
        Bytes after each batch.
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


def resident_memory() -> int:
    """Resident memory of this process in bytes.

    Raises:
        NotMeasurable: there is no /proc.
    """
    status = Path("/proc/self/statm")
    if not status.is_file():
        raise NotMeasurable("resident memory is read from /proc, which this system lacks")
    return int(status.read_text().split()[1]) * resource.getpagesize()
